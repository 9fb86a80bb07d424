"""From a proposal to a position."""

from alembic import op

revision = "0002"
down_revision = "0001"

_TABLES = """
CREATE TABLE proposals (
    id uuid NOT NULL,
    run_id uuid,
    account text NOT NULL,
    agent text NOT NULL,
    symbol text NOT NULL,
    side varchar(32) NOT NULL,
    order_type varchar(32) NOT NULL,
    quantity numeric NOT NULL,
    limit_price numeric,
    reference_price numeric NOT NULL,
    reduce_only boolean NOT NULL,
    close_reason varchar(32),
    stop_price numeric,
    take_profit_price numeric,
    close_after timestamptz,
    confidence integer NOT NULL,
    rationale text NOT NULL,
    as_of timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    content_hash text NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT pk_proposals PRIMARY KEY (id),
    CONSTRAINT uq_proposals_id_content_hash UNIQUE (id, content_hash),
    CONSTRAINT ck_proposals_agent CHECK (length(agent) BETWEEN 1 AND 200),
    CONSTRAINT ck_proposals_symbol CHECK (length(symbol) BETWEEN 1 AND 200),
    CONSTRAINT ck_proposals_side CHECK (side IN ('buy', 'sell')),
    CONSTRAINT ck_proposals_order_type CHECK (order_type IN ('market', 'limit')),
    CONSTRAINT ck_proposals_quantity CHECK (quantity > 0 AND quantity < 'Infinity'::numeric),
    CONSTRAINT ck_proposals_limit_price
        CHECK (limit_price > 0 AND limit_price < 'Infinity'::numeric),
    CONSTRAINT ck_proposals_limit_price_iff_limit
        CHECK ((order_type = 'limit') = (limit_price IS NOT NULL)),
    CONSTRAINT ck_proposals_reference_price
        CHECK (reference_price > 0 AND reference_price < 'Infinity'::numeric),
    CONSTRAINT ck_proposals_close_reason
        CHECK (close_reason IN ('agent', 'stop_loss', 'take_profit', 'time_limit')),
    CONSTRAINT ck_proposals_stop_price CHECK (stop_price > 0 AND stop_price < 'Infinity'::numeric),
    CONSTRAINT ck_proposals_take_profit_price
        CHECK (take_profit_price > 0 AND take_profit_price < 'Infinity'::numeric),
    CONSTRAINT ck_proposals_confidence CHECK (confidence BETWEEN 0 AND 100),
    CONSTRAINT ck_proposals_content_hash CHECK (content_hash ~ '^[0-9a-f]{64}$'),
    CONSTRAINT uq_proposals_run_id UNIQUE (run_id),
    CONSTRAINT fk_proposals_run_id FOREIGN KEY (run_id) REFERENCES runs (id),
    CONSTRAINT fk_proposals_account FOREIGN KEY (account) REFERENCES accounts (name)
);
CREATE INDEX ix_proposals_created_at ON proposals (created_at);

CREATE TABLE decisions (
    id uuid NOT NULL,
    proposal_id uuid NOT NULL,
    verdict text NOT NULL,
    reason integer,
    message text NOT NULL,
    content_hash text,
    snapshot jsonb NOT NULL,
    decided_at timestamptz NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT pk_decisions PRIMARY KEY (id),
    CONSTRAINT uq_decisions_id_verdict_content_hash UNIQUE (id, verdict, content_hash),
    CONSTRAINT fk_decisions_proposal_id_content_hash
        FOREIGN KEY (proposal_id, content_hash) REFERENCES proposals (id, content_hash),
    CONSTRAINT ck_decisions_verdict CHECK (verdict IN ('approved', 'denied', 'needs_approval')),
    CONSTRAINT ck_decisions_hash_iff_approved
        CHECK ((verdict = 'approved') = (content_hash IS NOT NULL)),
    CONSTRAINT ck_decisions_reason_iff_denied CHECK ((verdict = 'denied') = (reason IS NOT NULL)),
    CONSTRAINT ck_decisions_reason CHECK (reason BETWEEN 100 AND 599),
    CONSTRAINT uq_decisions_proposal_id UNIQUE (proposal_id),
    CONSTRAINT fk_decisions_proposal_id FOREIGN KEY (proposal_id) REFERENCES proposals (id)
);
CREATE INDEX ix_decisions_created_at ON decisions (created_at);

CREATE TABLE reservations (
    decision_id uuid NOT NULL,
    account text NOT NULL,
    asset text NOT NULL,
    amount numeric NOT NULL,
    state text DEFAULT 'held' NOT NULL,
    CONSTRAINT pk_reservations PRIMARY KEY (decision_id),
    CONSTRAINT ck_reservations_asset CHECK (length(asset) BETWEEN 1 AND 200),
    CONSTRAINT ck_reservations_amount CHECK (amount > 0 AND amount < 'Infinity'::numeric),
    CONSTRAINT ck_reservations_state CHECK (state IN ('held', 'settled', 'released')),
    CONSTRAINT fk_reservations_decision_id FOREIGN KEY (decision_id) REFERENCES decisions (id),
    CONSTRAINT fk_reservations_account FOREIGN KEY (account) REFERENCES accounts (name)
);
CREATE INDEX ix_reservations_held ON reservations (account, asset) WHERE state = 'held';

CREATE TABLE orders (
    client_order_id text NOT NULL,
    account text NOT NULL,
    decision_id uuid NOT NULL,
    verdict text DEFAULT 'approved' NOT NULL,
    content_hash text NOT NULL,
    symbol text NOT NULL,
    side varchar(32) NOT NULL,
    order_type varchar(32) NOT NULL,
    quantity numeric NOT NULL,
    limit_price numeric,
    state varchar(32) NOT NULL,
    exchange_order_id text,
    filled_quantity numeric DEFAULT '0' NOT NULL,
    filled_notional numeric DEFAULT '0' NOT NULL,
    message text DEFAULT '' NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    submitted_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    acknowledged_at timestamptz,
    updated_at timestamptz DEFAULT now() NOT NULL,
    settled boolean DEFAULT false NOT NULL,
    CONSTRAINT pk_orders PRIMARY KEY (client_order_id),
    CONSTRAINT fk_orders_decision_id_verdict_content_hash
        FOREIGN KEY (decision_id, verdict, content_hash)
        REFERENCES decisions (id, verdict, content_hash),
    CONSTRAINT ck_orders_verdict CHECK (verdict = 'approved'),
    CONSTRAINT uq_orders_client_order_id_account_symbol_side
        UNIQUE (client_order_id, account, symbol, side),
    CONSTRAINT ck_orders_client_order_id CHECK (length(client_order_id) BETWEEN 1 AND 36),
    CONSTRAINT ck_orders_symbol CHECK (length(symbol) BETWEEN 1 AND 200),
    CONSTRAINT ck_orders_side CHECK (side IN ('buy', 'sell')),
    CONSTRAINT ck_orders_order_type CHECK (order_type IN ('market', 'limit')),
    CONSTRAINT ck_orders_quantity CHECK (quantity > 0 AND quantity < 'Infinity'::numeric),
    CONSTRAINT ck_orders_limit_price CHECK (limit_price > 0 AND limit_price < 'Infinity'::numeric),
    CONSTRAINT ck_orders_limit_price_iff_limit
        CHECK ((order_type = 'limit') = (limit_price IS NOT NULL)),
    CONSTRAINT ck_orders_state
        CHECK (state IN ('submitting', 'open', 'partially_filled', 'filled',
                         'canceled', 'rejected', 'expired')),
    CONSTRAINT ck_orders_filled_quantity CHECK (filled_quantity BETWEEN 0 AND quantity),
    CONSTRAINT ck_orders_filled_notional
        CHECK (filled_notional >= 0 AND filled_notional < 'Infinity'::numeric),
    CONSTRAINT ck_orders_settled_is_final
        CHECK (NOT settled OR state IN ('filled', 'canceled', 'rejected', 'expired')),
    CONSTRAINT ck_orders_filled_has_quantity CHECK (state <> 'filled' OR filled_quantity > 0),
    CONSTRAINT fk_orders_account FOREIGN KEY (account) REFERENCES accounts (name),
    CONSTRAINT uq_orders_decision_id UNIQUE (decision_id)
);
CREATE INDEX ix_orders_acknowledged_at ON orders (acknowledged_at);
CREATE INDEX ix_orders_unsettled ON orders (account, symbol) WHERE NOT settled;

CREATE TABLE positions (
    id uuid NOT NULL,
    account text NOT NULL,
    symbol text NOT NULL,
    quantity numeric NOT NULL,
    bought_quantity numeric NOT NULL,
    sold_quantity numeric NOT NULL,
    cost numeric NOT NULL,
    proceeds numeric NOT NULL,
    opened_at timestamptz NOT NULL,
    opened_by text NOT NULL,
    opening_side varchar(32) DEFAULT 'buy' NOT NULL,
    agent text NOT NULL,
    stop_price numeric,
    take_profit_price numeric,
    close_after timestamptz,
    closed_at timestamptz,
    close_reason varchar(32),
    CONSTRAINT pk_positions PRIMARY KEY (id),
    CONSTRAINT fk_positions_opened_by_account_symbol_opening_side
        FOREIGN KEY (opened_by, account, symbol, opening_side)
        REFERENCES orders (client_order_id, account, symbol, side),
    CONSTRAINT ck_positions_opening_side CHECK (opening_side = 'buy'),
    CONSTRAINT ck_positions_agent CHECK (length(agent) BETWEEN 1 AND 200),
    CONSTRAINT ck_positions_quantity_is_the_difference
        CHECK (quantity = bought_quantity - sold_quantity),
    CONSTRAINT ck_positions_quantity CHECK (quantity >= 0 AND quantity < 'Infinity'::numeric),
    CONSTRAINT ck_positions_bought_quantity
        CHECK (bought_quantity > 0 AND bought_quantity < 'Infinity'::numeric),
    CONSTRAINT ck_positions_sold_quantity
        CHECK (sold_quantity >= 0 AND sold_quantity < 'Infinity'::numeric),
    CONSTRAINT ck_positions_cost CHECK (cost > '-Infinity'::numeric AND cost < 'Infinity'::numeric),
    CONSTRAINT ck_positions_proceeds
        CHECK (proceeds > '-Infinity'::numeric AND proceeds < 'Infinity'::numeric),
    CONSTRAINT ck_positions_stop_price CHECK (stop_price > 0 AND stop_price < 'Infinity'::numeric),
    CONSTRAINT ck_positions_take_profit_price
        CHECK (take_profit_price > 0 AND take_profit_price < 'Infinity'::numeric),
    CONSTRAINT ck_positions_close_reason
        CHECK (close_reason IN ('agent', 'stop_loss', 'take_profit', 'time_limit')),
    CONSTRAINT ck_positions_reason_iff_closed CHECK ((closed_at IS NULL) = (close_reason IS NULL)),
    CONSTRAINT uq_positions_opened_by UNIQUE (opened_by)
);
CREATE INDEX ix_positions_closed_at ON positions (closed_at);
CREATE UNIQUE INDEX uq_positions_open ON positions (account, symbol) WHERE closed_at IS NULL;

CREATE TABLE fills (
    account text NOT NULL,
    symbol text NOT NULL,
    trade_id text NOT NULL,
    client_order_id text NOT NULL,
    exchange_order_id text NOT NULL,
    side varchar(32) NOT NULL,
    quantity numeric NOT NULL,
    price numeric NOT NULL,
    fee numeric NOT NULL,
    fee_asset text NOT NULL,
    is_maker boolean NOT NULL,
    executed_at timestamptz NOT NULL,
    position_id uuid NOT NULL,
    smallest_sale numeric NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT pk_fills PRIMARY KEY (account, symbol, trade_id),
    CONSTRAINT fk_fills_client_order_id_account_symbol_side
        FOREIGN KEY (client_order_id, account, symbol, side)
        REFERENCES orders (client_order_id, account, symbol, side),
    CONSTRAINT ck_fills_trade_id CHECK (length(trade_id) BETWEEN 1 AND 200),
    CONSTRAINT ck_fills_quantity CHECK (quantity > 0 AND quantity < 'Infinity'::numeric),
    CONSTRAINT ck_fills_price CHECK (price > 0 AND price < 'Infinity'::numeric),
    CONSTRAINT ck_fills_fee CHECK (fee > '-Infinity'::numeric AND fee < 'Infinity'::numeric),
    CONSTRAINT ck_fills_smallest_sale
        CHECK (smallest_sale >= 0 AND smallest_sale < 'Infinity'::numeric),
    CONSTRAINT fk_fills_position_id FOREIGN KEY (position_id) REFERENCES positions (id)
);
CREATE INDEX ix_fills_client_order_id ON fills (client_order_id);
CREATE INDEX ix_fills_position_id ON fills (position_id);
"""


def upgrade() -> None:
    op.execute(_TABLES)


def downgrade() -> None:
    op.execute("DROP TABLE fills, positions, orders, reservations, decisions, proposals")
