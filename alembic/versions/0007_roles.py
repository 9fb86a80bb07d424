"""What each database role may do, and what nobody may change once it is stored.

A table that a later version makes is nobody's but the owner's until that version grants it.
The roles belong to the whole server and have no password here: `alina.db.roles` lets them log in.
"""

from alembic import op

revision = "0007"
down_revision = "0006"

_ROLES = """
DO $$
DECLARE role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['alina_agent', 'alina_executor'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            EXCEPTION
                WHEN duplicate_object OR unique_violation THEN NULL;  -- somebody was faster
                WHEN insufficient_privilege THEN
                    RAISE EXCEPTION 'role % is missing and the owner may not make it', role
                        USING ERRCODE = 'insufficient_privilege',
                            HINT = format('let an administrator run: CREATE ROLE %I NOLOGIN', role);
            END;
        END IF;
    END LOOP;
END $$;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO alina_agent, alina_executor;
"""

_BOTH = """
GRANT SELECT ON accounts, balances, equity, prompts, prompt_revisions, agents, runs, model_calls, proposals,
    decisions, approvals, reservations, orders, positions, fills, evaluations, experiments,
    experiment_cases, candles, facts, celery_taskmeta TO alina_agent, alina_executor;
GRANT INSERT ON proposals TO alina_agent, alina_executor;
GRANT INSERT, UPDATE ON celery_taskmeta TO alina_agent, alina_executor;
GRANT USAGE ON SEQUENCE task_id_sequence TO alina_agent, alina_executor;
"""

# Columns where only some may change: a run's end, a fact's end, the prompt in use, a corrected candle.
_AGENT = """
GRANT INSERT ON runs, model_calls, evaluations, experiments, experiment_cases, candles, facts, prompts,
    prompt_revisions TO alina_agent;
GRANT UPDATE (state, summary, prompt_revision_id, context, fact_ids, finished_at) ON runs TO alina_agent;
GRANT UPDATE (active_revision_id) ON prompts TO alina_agent;
GRANT UPDATE (open, high, low, close, volume) ON candles TO alina_agent;
GRANT UPDATE (invalid_at, expired_at) ON facts TO alina_agent;
GRANT UPDATE (challenger_score) ON experiment_cases TO alina_agent;
GRANT UPDATE ON experiments TO alina_agent;
GRANT SELECT ON celery_tasksetmeta TO alina_agent;
GRANT DELETE ON facts, celery_taskmeta, celery_tasksetmeta TO alina_agent;
"""

# What is bought and sold is never deleted, and a fill never changes.
_EXECUTOR = """
GRANT INSERT ON decisions, approvals, reservations, orders, positions, fills, balances, equity
    TO alina_executor;
GRANT UPDATE ON accounts, decisions, reservations, orders, positions, balances, equity TO alina_executor;
"""

# A program may step back; only a person, who logs in as the owner, lets it go on.
_STATES = """
CREATE FUNCTION strictness(trading_state text) RETURNS integer LANGUAGE sql IMMUTABLE
    RETURN CASE trading_state WHEN 'ACTIVE' THEN 0 WHEN 'REDUCING' THEN 1 ELSE 2 END;

CREATE FUNCTION only_the_owner_loosens() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF strictness(NEW.trading_state) < strictness(OLD.trading_state)
        AND NOT pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'MEMBER')
    THEN
        RAISE EXCEPTION '% may not move the trading state from % to %',
            current_user, OLD.trading_state, NEW.trading_state USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER only_the_owner_loosens BEFORE UPDATE ON accounts
    FOR EACH ROW EXECUTE FUNCTION only_the_owner_loosens();
"""

# Rights keep the agents out; these also bind the executor and, unless it disables them, the owner.
_TRIGGERS = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% never change once stored', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE TRIGGER proposals_never_change BEFORE UPDATE ON proposals
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TRIGGER decisions_are_final BEFORE UPDATE ON decisions
    FOR EACH ROW
    WHEN (OLD.verdict <> 'needs_approval'
        OR (NEW.id, NEW.proposal_id) IS DISTINCT FROM (OLD.id, OLD.proposal_id))
    EXECUTE FUNCTION refuse_change();

CREATE FUNCTION check_order_is_as_approved() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM decisions JOIN proposals ON proposals.id = decisions.proposal_id
        WHERE decisions.id = NEW.decision_id
            AND (proposals.account, proposals.symbol, proposals.side, proposals.order_type,
                 proposals.quantity, proposals.limit_price)
                IS NOT DISTINCT FROM
                (NEW.account, NEW.symbol, NEW.side, NEW.order_type, NEW.quantity, NEW.limit_price)
    ) THEN
        RAISE EXCEPTION 'order % is not what decision % is about', NEW.client_order_id, NEW.decision_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER orders_are_as_approved BEFORE INSERT ON orders
    FOR EACH ROW EXECUTE FUNCTION check_order_is_as_approved();

CREATE FUNCTION order_rank(state text) RETURNS integer LANGUAGE sql IMMUTABLE
    RETURN CASE state WHEN 'submitting' THEN 0 WHEN 'open' THEN 1 WHEN 'partially_filled' THEN 2 ELSE 3 END;

CREATE FUNCTION check_order_moves_forward() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF (NEW.client_order_id, NEW.account, NEW.decision_id, NEW.verdict, NEW.content_hash, NEW.symbol,
        NEW.side, NEW.order_type, NEW.quantity, NEW.limit_price, NEW.created_at)
        IS DISTINCT FROM
       (OLD.client_order_id, OLD.account, OLD.decision_id, OLD.verdict, OLD.content_hash, OLD.symbol,
        OLD.side, OLD.order_type, OLD.quantity, OLD.limit_price, OLD.created_at)
    THEN
        RAISE EXCEPTION 'order % never changes what it orders', OLD.client_order_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF order_rank(NEW.state) < order_rank(OLD.state)
        OR (order_rank(OLD.state) = 3 AND NEW.state <> OLD.state)
        OR NEW.filled_quantity < OLD.filled_quantity
        OR (OLD.settled AND NOT NEW.settled)
    THEN
        RAISE EXCEPTION 'order % only moves forward', OLD.client_order_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER orders_move_forward BEFORE UPDATE ON orders
    FOR EACH ROW EXECUTE FUNCTION check_order_moves_forward();
"""


def upgrade() -> None:
    """Raises InsufficientPrivilege, with what to do, where the roles must be made by somebody else."""
    for statements in (_ROLES, _BOTH, _AGENT, _EXECUTOR, _STATES, _TRIGGERS):
        op.execute(statements)


def downgrade() -> None:
    """The roles stay: other databases of the server may use them."""
    op.execute(
        """
        DROP TRIGGER only_the_owner_loosens ON accounts;
        DROP TRIGGER orders_move_forward ON orders;
        DROP TRIGGER orders_are_as_approved ON orders;
        DROP TRIGGER decisions_are_final ON decisions;
        DROP TRIGGER proposals_never_change ON proposals;
        DROP FUNCTION only_the_owner_loosens, strictness;
        DROP FUNCTION check_order_moves_forward, order_rank, check_order_is_as_approved, refuse_change;
        REVOKE ALL ON ALL TABLES IN SCHEMA public FROM alina_agent, alina_executor;
        REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM alina_agent, alina_executor;
        REVOKE USAGE ON SCHEMA public FROM alina_agent, alina_executor;
        """
    )
