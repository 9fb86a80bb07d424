"""Accounts, prompts and runs of a ledger in memory."""

from bisect import insort
from collections.abc import Collection
from datetime import datetime
from decimal import Decimal
from uuid import NAMESPACE_URL, UUID, uuid5

from alina.domain.market import Balance, Balances
from alina.domain.portfolio import AccountState, Equity, NewPeak, SystemState, TradingState, WindDown
from alina.domain.runs import PromptRevision, Run, RunState, prompt_sha256
from alina.errors import LedgerError
from alina.ledger.accounts import Accounts, in_force
from alina.ledger.in_memory_rows import AccountFields, EquityHistory, Rows
from alina.ledger.part import found
from alina.ledger.prompts import Prompts
from alina.ledger.runs import Runs, as_stored

_NOTHING = Decimal(0)


class InMemoryAccounts(Accounts):
    """The accounts' part."""

    _rows: Rows

    def ensure_account(self, name: str) -> None:
        self._rows.accounts.setdefault(name, AccountFields())
        if self._rows.system is None:
            self._rows.system = SystemState(trading_state=TradingState.ACTIVE, reason="")
            self._rows.account_states.clear()

    def lock_account(self, name: str) -> AccountState:
        return self.account(name)

    def account(self, name: str) -> AccountState:
        states = self._rows.account_states
        if name not in states:
            row, system = self._rows.accounts.get(name), self.system_state()
            told = (system.trading_state, system.reason)
            own = None if row is None else (row.trading_state, row.reason, row.wind_down, *told)
            states[name] = in_force(name, own)
        return states[name]

    def system_state(self) -> SystemState:
        return self._rows.system or SystemState(
            trading_state=TradingState.HALTED, reason="its state is not known: make an account first"
        )

    def set_trading_state(self, name: str, state: TradingState, *, reason: str, at: datetime) -> None:
        row = self._account(name)
        row.trading_state, row.reason, row.wind_down = state, reason, WindDown.NONE
        self._rows.account_states.clear()

    def lower_trading_state(self, name: str, state: TradingState, *, reason: str, at: datetime) -> bool:
        row = self._account(name)
        if state.strictness <= row.trading_state.strictness:
            return False
        row.trading_state, row.reason = state, reason
        self._rows.account_states.clear()
        return True

    def set_system_state(self, state: TradingState, *, reason: str, at: datetime) -> None:
        self._rows.system = SystemState(trading_state=state, reason=reason)
        self._rows.account_states.clear()

    def record_balances(self, account: str, balances: Balances, *, at: datetime) -> None:
        row = self._account(account)
        is_first = not row.balances
        gone = row.balances.keys() - balances.keys()
        nothing = {asset: Balance(asset=asset, free=_NOTHING, locked=_NOTHING) for asset in sorted(gone)}
        row.balances, row.balances_at = {**nothing, **balances}, at
        for asset, balance in balances.items():
            row.opening.setdefault(asset, balance.total if is_first else _NOTHING)

    def balances(self, account: str) -> Balances:
        row = self._rows.accounts.get(account)
        return dict(sorted(row.balances.items())) if row is not None else {}

    def opening_balances(self, account: str) -> Balances:
        row = self._rows.accounts.get(account)
        opening = row.opening if row is not None else {}
        return {name: Balance(asset=name, free=total, locked=_NOTHING) for name, total in opening.items()}

    def peak_number(self, account: str) -> int:
        newest = self._rows.new_peaks.get(account)
        return newest.number if newest is not None else 0

    def record_equity(self, equity: Equity, *, peak_number: int | None = None) -> None:
        if peak_number not in (None, self.peak_number(equity.account)):
            self._rows.past_equity.setdefault(equity.account, []).append(equity)
            return
        history = self._rows.equity.setdefault(equity.account, EquityHistory())
        before = history.by_time.get(equity.as_of)
        if before is None:
            insort(history.times, equity.as_of)
        history.by_time[equity.as_of] = equity
        history.recorded_at[equity.as_of] = self._rows.wall()
        if history.peak is None or equity.total >= history.peak:
            history.peak = equity.total
        elif before is not None and before.total == history.peak:  # the highest was taken back
            history.peak = max(one.total for one in history.by_time.values())

    def begin_new_peak(self, account: str, *, reason: str, by: str) -> NewPeak:
        self._account(account)
        rows, newest = self._rows, self._rows.new_peaks.get(account)
        counted = rows.equity.get(account, EquityHistory())
        if newest is not None and not counted.times:
            return newest
        rows.past_equity.setdefault(account, []).extend(counted.by_time[one] for one in counted.times)
        rows.equity[account] = EquityHistory()
        number = newest.number + 1 if newest is not None else 1
        rows.new_peaks[account] = NewPeak(
            account=account, number=number, reason=reason, begun_by=by, begun_at=rows.wall()
        )
        return rows.new_peaks[account]

    def equity_curve(self, account: str, *, since: datetime | None = None) -> list[Equity]:
        history = self._rows.equity.get(account, EquityHistory())
        curve = [*self._rows.past_equity.get(account, ()), *(history.by_time[one] for one in history.times)]
        curve.sort(key=lambda one: one.as_of)
        return [one for one in curve if since is None or one.as_of >= since]

    def _account(self, name: str) -> AccountFields:
        return found(self._rows.accounts.get(name), f"account {name!r}")


class InMemoryPrompts(Prompts):
    """The prompts' part."""

    _rows: Rows

    def ensure_agent(self, name: str, *, kind: str, prompt: str) -> None:
        """Any agent may run here."""

    def ensure_revision(
        self, prompt: str, *, system: str, template: str, author: str, parent_id: UUID | None = None
    ) -> PromptRevision:
        digest = prompt_sha256(system, template)
        identity = uuid5(NAMESPACE_URL, f"alina:prompt:{prompt}:{digest}")
        if identity not in self._rows.revisions:
            self._rows.revisions[identity] = PromptRevision(
                id=identity,
                prompt=prompt,
                number=1 + len(self.revisions(prompt)),
                system=system,
                template=template,
                author=author,
                parent_id=parent_id,
                sha256=digest,
            )
        self._rows.active.setdefault(prompt, identity)
        return self._rows.revisions[identity]

    def active_revision(self, prompt: str) -> PromptRevision:
        return self._rows.revisions[found(self._rows.active.get(prompt), f"prompt {prompt!r}")]

    def activate_revision(self, prompt: str, revision_id: UUID) -> None:
        if self.revision(revision_id).prompt != prompt:
            raise LedgerError(f"revision {revision_id} is not of prompt {prompt!r}: activate one of its own")
        self._rows.active[prompt] = revision_id

    def revision(self, revision_id: UUID) -> PromptRevision:
        return found(self._rows.revisions.get(revision_id), f"prompt revision {revision_id}")

    def revisions(self, prompt: str) -> list[PromptRevision]:
        return [one for one in self._rows.revisions.values() if one.prompt == prompt][::-1]


class InMemoryRuns(Runs):
    """The runs' part."""

    _rows: Rows

    def start_run(self, run: Run) -> Run:
        if run.state is not RunState.STARTED:
            raise LedgerError(f"run {run.key} starts as {run.state.value}: start it as started")
        stored = self._rows.run_by_key.get(run.key)
        if stored is not None:
            return self._rows.runs[stored]
        if run.id in self._rows.runs:
            raise LedgerError(f"run {run.id} has another key than {run.key}: derive ids from keys")
        self._rows.run_by_key[run.key], self._rows.runs[run.id] = run.id, run
        return run

    def finish_run(self, run: Run) -> None:
        stored, ended = self.run(run.id), as_stored(run)
        if stored.state is not RunState.STARTED and stored == ended:
            return
        self._check_end(stored, ended)
        self._rows.runs[run.id] = ended

    def lock_run(self, run_id: UUID) -> Run:
        return self.run(run_id)

    def run(self, run_id: UUID) -> Run:
        return found(self._rows.runs.get(run_id), f"run {run_id}")

    def has_run(self, key: str) -> bool:
        return key in self._rows.run_by_key

    def runs(
        self,
        *,
        agent: str | None = None,
        symbol: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        states: Collection[RunState] | None = None,
        limit: int = 50,
    ) -> list[Run]:
        kept = [
            run
            for run in self._rows.runs.values()
            if agent in (None, run.agent)
            and symbol in (None, run.symbol)
            and (since is None or run.as_of >= since)
            and (until is None or run.as_of <= until)
            and (states is None or run.state in states)
        ]
        return sorted(kept, key=lambda run: run.as_of, reverse=True)[:limit]
