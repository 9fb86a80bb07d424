"""A person stops a system that trades: by the command, and by a file."""

from running_system import SYMBOL, RunningSystem, eventually

from alina.domain.portfolio import TradingState


def test_halt_with_flatten_cancels_sells_and_halts(system: RunningSystem) -> None:
    eventually(lambda: _position(system) is not None, "a position is open")

    said = system.answer("halt", "--flatten", "--reason", "a drill")
    try:
        assert (said["now"], said["reason"]) == ("HALTED", "a drill")
        eventually(lambda: _position(system) is None, "the position is sold")
        eventually(lambda: not system.runtime.exchange.open_orders(SYMBOL), "no order rests")
    finally:
        assert system.answer("resume")["now"] == "ACTIVE"
    system.wait_for_more()


def test_a_stop_file_stops_a_running_system(system: RunningSystem) -> None:
    system.wait_for_more(runs=1)

    denials = _halted_denials(system)
    system.settings.stop_file.touch()
    try:
        # the executor does one thing after the other: with the first denial nothing is on its way any more
        eventually(lambda: _halted_denials(system) > denials, "the executor has seen the file")
        before, denials = system.orders_on_venue(), _halted_denials(system)
        eventually(lambda: _halted_denials(system) > denials, "the executor was asked again")
        assert system.orders_on_venue() == before
        assert system.status().stopped_by_file
        assert _state(system) is TradingState.ACTIVE, "the file needs no database"
    finally:
        assert system.answer("resume")["stop_file"] is False
    system.wait_for_more()


def _position(system: RunningSystem) -> object:
    with system.runtime.unit_of_work() as uow:
        return uow.ledger.open_position(system.runtime.account, SYMBOL)


def _halted_denials(system: RunningSystem) -> int:
    return system.counts()["denials:TRADING_HALTED"]


def _state(system: RunningSystem) -> TradingState:
    with system.runtime.unit_of_work() as uow:
        return uow.ledger.account(system.runtime.account).trading_state
