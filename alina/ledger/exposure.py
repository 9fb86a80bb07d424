"""What an account has done lately and holds now, counted from the rows in one statement."""

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from alina.db.prepared import Prepared
from alina.domain.activity import Activity, ActivityQuery
from alina.domain.portfolio import AccountState, Position
from alina.ledger.accounts import LOCK, STATES, in_force
from alina.ledger.part import Part, first_row, found

_STATE_COUNT = len(STATES.split(","))
#: columns of the account's open position in the symbol
_POSITION = tuple(field.name for field in fields(Position))
#: `recent` and `closed` are cut by an index; `held` and `opened` are as many as there are open affairs.
#: Every range ends, at infinity: of one that is open the planner, which does not know where it begins, takes
#: a third of all rows, and would rather read whole tables.
COUNT = Prepared(
    "alina_count",
    ("text",) * 6 + ("timestamptz",) * 5 + ("uuid",),
    f"""
WITH recent AS (
    SELECT r.agent, r.symbol, r.side, r.decided_at, r.decided_at >= $7 AS is_today, r.turnover,
           o.state, o.settled, o.filled_notional
    FROM reservations r
    LEFT JOIN orders o ON o.decision_id = r.decision_id
    WHERE r.account = $1 AND r.decided_at >= $10 AND r.decided_at <= 'infinity'
), latest AS (
    SELECT max(decided_at) FILTER (
               WHERE symbol = $3 AND side = 'buy' AND state IS DISTINCT FROM 'rejected') AS entry_at,
           max(decided_at) FILTER (
               WHERE symbol = $3 AND side = $4 AND agent = $2
               AND state IS DISTINCT FROM 'rejected') AS same_at,
           coalesce(sum(CASE WHEN settled OR turnover IS NULL THEN filled_notional ELSE turnover END)
               FILTER (WHERE is_today), 0) AS volume
    FROM recent
), held AS (
    SELECT symbol, side, asset, amount FROM reservations WHERE account = $1 AND state = 'held'
), opened AS (
    SELECT symbol, cost * quantity / bought_quantity AS amount
    FROM positions WHERE account = $1 AND closed_at IS NULL
    UNION ALL SELECT symbol, amount FROM held WHERE side = 'buy'
), exposed AS (
    SELECT count(DISTINCT symbol) AS positions,
           CASE WHEN bool_and(split_part(symbol, '/', 2) = $6) IS NOT FALSE
                THEN coalesce(sum(amount), 0) END AS total,
           coalesce(sum(amount) FILTER (WHERE symbol = $3), 0) AS in_symbol
    FROM opened
), reserved AS (
    SELECT coalesce(sum(amount) FILTER (WHERE asset = $5), 0) AS base,
           coalesce(sum(amount) FILTER (WHERE asset = $6), 0) AS quote
    FROM (
        SELECT asset, amount FROM held
        UNION ALL
        SELECT asset, amount FROM reservations
        WHERE account = $1 AND ended_at >= $11 AND ended_at <= 'infinity'
    ) AS spoken_for
), closed AS (
    SELECT symbol, cost, proceeds - cost AS pnl, closed_at, close_reason = 'stop_loss' AS is_stop
    FROM positions WHERE account = $1 AND closed_at >= $9 AND closed_at <= 'infinity'
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
)
SELECT {STATES},
       {", ".join(f"open_one.{name}" for name in _POSITION)},
       reserved.base, reserved.quote, latest.entry_at, latest.same_at,
       (SELECT count(*) FROM reservations
        WHERE account = $1 AND created_at > (SELECT clock_timestamp() - interval '1 minute')
        AND created_at <= 'infinity'),
       latest.volume, results.today, exposed.positions, exposed.total, exposed.in_symbol,
       worth.total, worth.as_of, worth.age,
       (SELECT cash + holdings FROM equity WHERE account = $1 AND peak_number = newest.peak
        ORDER BY cash + holdings DESC LIMIT 1),
       coalesce(
           (SELECT cash + holdings FROM equity WHERE account = $1 AND peak_number = newest.peak AND as_of < $7
            ORDER BY as_of DESC LIMIT 1),
           (SELECT cash + holdings FROM equity WHERE account = $1 AND peak_number = newest.peak
            ORDER BY as_of LIMIT 1)),
       results.stops, results.symbol_stops, results.losses, results.symbol_trades, results.symbol_return,
       EXISTS (SELECT FROM balances WHERE account = $1),
       (SELECT content_hash FROM proposals WHERE id = $12
        AND NOT EXISTS (SELECT FROM decisions WHERE proposal_id = $12))
FROM latest, reserved, exposed, results, accounts a
CROSS JOIN LATERAL (SELECT coalesce(max(number), 0) AS peak FROM new_peaks WHERE account = $1) newest
LEFT JOIN LATERAL (
    SELECT as_of, cash + holdings AS total, clock_timestamp() - recorded_at AS age
    FROM equity WHERE account = $1 AND peak_number = newest.peak ORDER BY as_of DESC LIMIT 1
) worth ON true
LEFT JOIN system_state s ON s.singleton
LEFT JOIN positions open_one
    ON open_one.account = a.name AND open_one.symbol = $3 AND open_one.closed_at IS NULL
WHERE a.name = $1
""",  # noqa: S608  # names of fields only
)


@dataclass(frozen=True, slots=True)
class Standing:
    """An account as a review meets it."""

    account: AccountState
    #: in the symbol asked for
    position: Position | None
    activity: Activity


class Exposure(Part):
    """The ledger's part that counts for the kernel."""

    def activity(self, query: ActivityQuery) -> Activity:
        """Every figure at once; true until the transaction ends if the account is locked.

        Raises LedgerError if the account is unknown.
        """
        row = first_row(self._session, (COUNT, (*_parameters(query), None)))
        return _standing(query, found(row, f"account {query.account!r}")).activity

    def locked_standing(self, query: ActivityQuery, proposal_id: UUID) -> Standing:
        """Lock the account until the transaction ends, and then count: in one message, so that the lock is
        held no longer than it must. Whether the proposal is decided is seen as well, for `save_decision`.

        The figures are a statement of their own: one that waits for a lock sees what was committed before
        it began to wait. Raises LedgerError if the account is unknown.
        """
        calls = ((LOCK, (query.account,)), (COUNT, (*_parameters(query), proposal_id)))
        row = found(first_row(self._session, *calls), f"account {query.account!r}")
        self._undecided = proposal_id, row[-1]
        return _standing(query, row)


def _standing(query: ActivityQuery, row: tuple[Any, ...]) -> Standing:
    states, position, figures = _parts(row)
    held = dict(zip(_POSITION, position, strict=True))
    return Standing(
        account=in_force(query.account, states),
        position=Position(**held) if held["id"] is not None else None,
        activity=Activity(**dict(zip(_FIGURES, figures, strict=True))),
    )


def _parts(row: tuple[Any, ...]) -> tuple[tuple[Any, ...], ...]:
    """The row's columns of the states, of the position and of the figures."""
    figures_at = -1 - len(_FIGURES)
    return row[:_STATE_COUNT], row[_STATE_COUNT:figures_at], row[figures_at:-1]


def _parameters(query: ActivityQuery) -> tuple[str | datetime | None, ...]:
    """In the order of the statement."""
    base, quote = query.symbol.split("/")
    now = query.now
    day = datetime(now.year, now.month, now.day, tzinfo=UTC)
    lookback_since = now - query.lookback
    return (
        query.account,
        query.agent,
        query.symbol,
        query.side,
        base,
        quote,
        day,
        lookback_since,
        min(day, lookback_since),
        min(day, now - query.recent),
        query.balances_asked_at,
    )


#: in the order of the statement's first columns
_FIGURES = (
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
    "equity_age",
    "equity_peak",
    "equity_at_day_start",
    "stop_losses",
    "symbol_stop_losses",
    "losses_in_a_row",
    "symbol_trades",
    "symbol_return",
    "has_balances",
)
