"""What an account has done lately and holds now, counted from the rows in one statement."""

from datetime import UTC, datetime

from sqlalchemy import text

from alina.domain.activity import Activity, ActivityQuery
from alina.ledger.part import Part

#: Prepared once a connection: planning it takes longer than running it. `recent` and `closed` are cut by an
#: index; `held` and `opened` are as many as there are open affairs.
_PREPARE = """
PREPARE alina_activity (
    text, text, text, text, text, text, timestamptz, timestamptz, timestamptz, timestamptz
) AS
WITH recent AS (
    SELECT p.agent, p.symbol, p.side, d.decided_at, d.decided_at >= $7 AS is_today, o.state, o.settled,
           o.filled_notional,
           CASE WHEN p.side = 'buy' THEN r.amount
                WHEN p.order_type = 'stop_limit' THEN o.filled_notional
                ELSE p.quantity * p.reference_price END AS pending
    FROM decisions d
    JOIN proposals p ON p.id = d.proposal_id
    LEFT JOIN orders o ON o.decision_id = d.id
    LEFT JOIN reservations r ON r.decision_id = d.id
    WHERE d.decided_at >= $10 AND d.verdict = 'approved' AND p.account = $1
), latest AS (
    SELECT max(decided_at) FILTER (
               WHERE symbol = $3 AND side = 'buy' AND state IS DISTINCT FROM 'rejected') AS entry_at,
           max(decided_at) FILTER (
               WHERE symbol = $3 AND side = $4 AND agent = $2
               AND state IS DISTINCT FROM 'rejected') AS same_at,
           coalesce(sum(CASE WHEN settled THEN filled_notional ELSE pending END)
               FILTER (WHERE is_today), 0) AS volume
    FROM recent
), held AS (
    SELECT p.symbol, p.side, r.asset, r.amount
    FROM reservations r
    JOIN decisions d ON d.id = r.decision_id
    JOIN proposals p ON p.id = d.proposal_id
    WHERE r.account = $1 AND r.state = 'held'
), opened AS (
    SELECT symbol, cost * quantity / bought_quantity AS amount
    FROM positions WHERE account = $1 AND closed_at IS NULL
    UNION ALL SELECT symbol, amount FROM held WHERE side = 'buy'
), exposed AS (
    SELECT count(DISTINCT symbol) AS positions, coalesce(sum(amount), 0) AS total,
           coalesce(sum(amount) FILTER (WHERE symbol = $3), 0) AS in_symbol
    FROM opened
), reserved AS (
    SELECT coalesce(sum(amount) FILTER (WHERE asset = $5), 0) AS base,
           coalesce(sum(amount) FILTER (WHERE asset = $6), 0) AS quote
    FROM held
), closed AS (
    SELECT symbol, cost, proceeds - cost AS pnl, closed_at, close_reason = 'stop_loss' AS is_stop
    FROM positions WHERE account = $1 AND closed_at >= $9
), results AS (
    SELECT coalesce(sum(pnl) FILTER (WHERE closed_at >= $7), 0) AS today,
           count(*) FILTER (WHERE is_stop AND closed_at >= $8) AS stops,
           count(*) FILTER (WHERE is_stop AND closed_at >= $8 AND symbol = $3)
               AS symbol_stops,
           count(*) FILTER (WHERE closed_at >= $8 AND symbol = $3) AS symbol_trades,
           sum(pnl) FILTER (WHERE closed_at >= $8 AND symbol = $3)
               / nullif(sum(cost) FILTER (WHERE closed_at >= $8 AND symbol = $3), 0)
               AS symbol_return,
           count(*) FILTER (
               WHERE pnl < 0 AND closed_at >= $8
               AND closed_at > coalesce((SELECT max(closed_at) FROM closed WHERE pnl >= 0), '-infinity')
           ) AS losses
    FROM closed
), worth AS (
    SELECT as_of, cash + holdings AS total
    FROM equity WHERE account = $1 ORDER BY as_of DESC LIMIT 1
)
SELECT reserved.base, reserved.quote, latest.entry_at, latest.same_at,
       (SELECT count(*) FROM decisions d JOIN proposals p ON p.id = d.proposal_id
        WHERE d.created_at > clock_timestamp() - interval '1 minute' AND d.verdict = 'approved'
        AND p.account = $1),
       latest.volume, results.today, exposed.positions, exposed.total, exposed.in_symbol,
       (SELECT total FROM worth), (SELECT as_of FROM worth),
       (SELECT cash + holdings FROM equity WHERE account = $1
        ORDER BY account DESC, cash + holdings DESC LIMIT 1),
       coalesce(
           (SELECT cash + holdings FROM equity WHERE account = $1 AND as_of < $7
            ORDER BY as_of DESC LIMIT 1),
           (SELECT cash + holdings FROM equity WHERE account = $1 ORDER BY as_of LIMIT 1)),
       results.stops, results.symbol_stops, results.losses, results.symbol_trades, results.symbol_return,
       EXISTS (SELECT FROM balances WHERE account = $1)
FROM latest, reserved, exposed, results
"""
_EXECUTE = text("""
EXECUTE alina_activity (
    :account, :agent, :symbol, :side, :base, :quote, :day, :lookback_since, :closed_since, :recent_since
)
""")
#: in a connection's `info`: that the statement is there
_PREPARED = "alina_activity"


class Exposure(Part):
    """The ledger's part that counts for the kernel."""

    def activity(self, query: ActivityQuery) -> Activity:
        """Every figure at once; true until the transaction ends if the account is locked."""
        base, quote = query.symbol.split("/")
        now = query.now
        day = datetime(now.year, now.month, now.day, tzinfo=UTC)
        lookback_since = now - query.lookback
        connection = self._session.connection()
        if _PREPARED not in connection.info:
            connection.exec_driver_sql(_PREPARE)
            connection.info[_PREPARED] = True
        row = connection.execute(
            _EXECUTE,
            {
                "account": query.account,
                "agent": query.agent,
                "symbol": query.symbol,
                "side": query.side,
                "base": base,
                "quote": quote,
                "day": day,
                "lookback_since": lookback_since,
                "closed_since": min(day, lookback_since),
                "recent_since": min(day, now - query.recent),
            },
        ).one()
        return Activity(**dict(zip(_FIELDS, row, strict=True)))


#: in the order of the statement's columns
_FIELDS = (
    "reserved_base",
    "reserved_quote",
    "last_entry_at",
    "last_same_at",
    "orders_last_minute",
    "volume_today",
    "pnl_today",
    "open_positions",
    "exposure",
    "symbol_exposure",
    "equity",
    "equity_at",
    "equity_peak",
    "equity_at_day_start",
    "stop_losses",
    "symbol_stop_losses",
    "losses_in_a_row",
    "symbol_trades",
    "symbol_return",
    "has_balances",
)
