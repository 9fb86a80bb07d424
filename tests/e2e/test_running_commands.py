"""Every command against the running system, answered as JSON."""

from uuid import UUID

from running_system import PROCESSES, SYMBOL, RunningSystem, eventually


def test_status_names_every_process_and_the_account(system: RunningSystem) -> None:
    status = system.answer("status")

    assert status["ready"]
    assert {process["name"] for process in status["processes"]} == {"supervisor", *PROCESSES}
    assert all(process["alive"] for process in status["processes"])
    assert status["account"]["trading_state"] == "ACTIVE"
    assert status["market_time"]
    assert status["faults"] == {}


def test_run_shows_what_came_of_it(system: RunningSystem) -> None:
    outcome = system.answer("run", "trading", SYMBOL)

    assert outcome["run"]["state"] in {"proposed", "held", "failed"}
    assert (outcome["proposal"] is not None) == (outcome["run"]["state"] == "proposed")
    assert (outcome["decision"] is not None) == (outcome["proposal"] is not None)


def test_a_question_is_answered_whole_and_in_pieces(system: RunningSystem) -> None:
    answer = system.answer("ask", "What is slippage?")
    shown = system.command("ask", "What is slippage?", "--stream")

    assert answer["text"]
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith(answer["text"])


def test_a_wrong_symbol_is_one_message_and_exit_code_2(system: RunningSystem) -> None:
    done = system.command("run", "trading", "ETH/USDT")

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "market.symbols" in done.stderr
    assert "Traceback" not in done.stderr


def test_decisions_and_their_replay(system: RunningSystem) -> None:
    system.wait_for_more()

    trails = system.answer("decisions", "--limit", "50")
    decided_by_model = next(trail for trail in trails if trail["run"] is not None)
    replayed = system.answer("replay", decided_by_model["decision"]["id"])

    assert replayed["equal"]
    assert replayed["run_id"] == decided_by_model["run"]["id"]
    assert all(call["then"] == call["now"] for call in replayed["calls"])


def test_trades_show_results_and_scores(system: RunningSystem) -> None:
    def scored() -> list[dict[str, str]]:
        return [trade for trade in system.answer("trades") if trade["score"] is not None]

    trade = eventually(scored, "a closed trade is scored")[0]

    assert UUID(trade["id"])
    assert trade["closed_at"]
    assert trade["pnl"]
    assert trade["explanation"]


def test_doctor_finds_nothing_wrong(system: RunningSystem) -> None:
    findings = system.answer("doctor")

    assert [one for one in findings if one["level"] == "fail"] == []


def test_a_second_up_is_refused_and_harms_nothing(system: RunningSystem) -> None:
    before = system.answer("status")["processes"]

    done = system.command("up")

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "already running" in done.stderr
    after = system.answer("status")["processes"]
    assert [(one["name"], one["pid"]) for one in after] == [(one["name"], one["pid"]) for one in before]
    system.wait_for_more()
