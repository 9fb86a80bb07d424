"""A person's word on a decision, and indexes for the kernel's figures."""

from alembic import op

revision = "0006"
down_revision = "0005"

_UP = """
CREATE TABLE approvals (
    decision_id uuid NOT NULL,
    proposal_id uuid NOT NULL,
    content_hash text NOT NULL,
    expires_at timestamptz NOT NULL,
    answer text,
    answered_by text,
    answered_at timestamptz,
    created_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT pk_approvals PRIMARY KEY (decision_id),
    CONSTRAINT fk_approvals_decision_id FOREIGN KEY (decision_id) REFERENCES decisions (id),
    CONSTRAINT fk_approvals_proposal_id_content_hash
        FOREIGN KEY (proposal_id, content_hash) REFERENCES proposals (id, content_hash),
    CONSTRAINT ck_approvals_answer CHECK (answer IN ('approved', 'denied')),
    CONSTRAINT ck_approvals_answered_by CHECK (length(answered_by) BETWEEN 1 AND 200),
    CONSTRAINT ck_approvals_who_iff_answered
        CHECK ((answer IS NOT NULL) = (answered_by IS NOT NULL)),
    CONSTRAINT ck_approvals_when_iff_answered
        CHECK ((answer IS NOT NULL) = (answered_at IS NOT NULL))
);

ALTER TABLE decisions DROP CONSTRAINT ck_decisions_reason;
ALTER TABLE decisions ADD CONSTRAINT ck_decisions_reason CHECK (reason BETWEEN 100 AND 999);
CREATE INDEX ix_decisions_decided_at ON decisions (decided_at);
CREATE INDEX ix_decisions_needs_approval ON decisions (id) WHERE verdict = 'needs_approval';
CREATE INDEX ix_equity_account_total ON equity (account, (cash + holdings));

CREATE FUNCTION decision_needs_a_yes() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NEW.verdict = 'approved' AND NOT EXISTS (
        SELECT FROM approvals a
        WHERE a.decision_id = NEW.id AND a.answer = 'approved' AND a.content_hash = NEW.content_hash
    ) THEN
        RAISE integrity_constraint_violation
            USING MESSAGE = format('nobody has agreed to decision %s with this content', OLD.id);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER decision_needs_a_yes BEFORE UPDATE ON decisions
    FOR EACH ROW EXECUTE FUNCTION decision_needs_a_yes();

CREATE FUNCTION approval_is_answered_once() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF OLD.answer IS NOT NULL
       OR (NEW.decision_id, NEW.proposal_id, NEW.content_hash, NEW.expires_at)
          IS DISTINCT FROM (OLD.decision_id, OLD.proposal_id, OLD.content_hash, OLD.expires_at)
    THEN
        RAISE integrity_constraint_violation
            USING MESSAGE = format('approval of %s is answered once, and nothing else of it changes',
                                   OLD.decision_id);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER approval_is_answered_once BEFORE UPDATE ON approvals
    FOR EACH ROW EXECUTE FUNCTION approval_is_answered_once();
"""

_DOWN = """
DROP TABLE approvals;
DROP FUNCTION approval_is_answered_once();
DROP TRIGGER decision_needs_a_yes ON decisions;
DROP FUNCTION decision_needs_a_yes();
DROP INDEX ix_equity_account_total;
DROP INDEX ix_decisions_needs_approval;
DROP INDEX ix_decisions_decided_at;
ALTER TABLE decisions DROP CONSTRAINT ck_decisions_reason;
ALTER TABLE decisions ADD CONSTRAINT ck_decisions_reason CHECK (reason BETWEEN 100 AND 599);
"""


def upgrade() -> None:
    op.execute(_UP)


def downgrade() -> None:
    op.execute(_DOWN)
