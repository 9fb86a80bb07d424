"""The end of `alina up`, wanted and not, and what can still be read afterwards."""

import signal

from running_system import SERVERS, RunningSystem


def test_the_next_up_takes_over_what_a_killed_one_left(system: RunningSystem) -> None:
    servers = {name: system.pid(name) for name in SERVERS}
    system.wait_for_more()

    system.signal_up(signal.SIGKILL)
    system.start()

    assert {name: system.pid(name) for name in SERVERS} == servers
    system.wait_for_more()
    system.assert_books_agree()


def test_down_ends_what_a_killed_up_left(system: RunningSystem) -> None:
    system.signal_up(signal.SIGKILL)

    system.down()

    system.assert_nothing_is_left()


def test_ctrl_c_ends_everything_and_the_record_stays_readable(system: RunningSystem) -> None:
    system.wait_for_more()
    trails = system.answer("decisions", "--limit", "50")
    decision = next(trail["decision"]["id"] for trail in trails if trail["proposal"]["run_id"] is not None)

    assert system.signal_up(signal.SIGINT) == 0

    system.assert_nothing_is_left()
    assert not any(process["alive"] for process in system.answer("status", code=3)["processes"])
    assert decision in [trail["decision"]["id"] for trail in system.answer("decisions", "--limit", "50")]
    assert system.answer("trades")
    assert system.answer("replay", decision)["equal"]
    assert [one for one in system.answer("doctor") if one["level"] == "fail"] == []
    assert system.command("run", "trading", "BTC/USDT").returncode == 2
    system.assert_nothing_is_left()
