"""Another model is activated while the system trades."""

from datetime import UTC, datetime

from running_system import RunningSystem, eventually

from alina.domain.runs import Run, RunState

EPOCH, FOREVER = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


def newest_runs(system: RunningSystem) -> list[Run]:
    with system.runtime.unit_of_work() as uow:
        return uow.ledger.runs(
            agent="trading",
            since=EPOCH,
            until=FOREVER,
            states=[state for state in RunState if state is not RunState.STARTED],
            limit=50,
        )


def test_the_activated_model_answers_the_next_runs_and_nothing_fails(system: RunningSystem) -> None:
    other = system.home / "others.jsonl"
    before = {run.id for run in newest_runs(system)}
    other.write_text((system.home / "answers.jsonl").read_text() + "\n" + '{"text": "another model"}\n')
    added = system.answer("models", "add", "other", f"scripted:{other}")
    assert (added["version"], added["state"]) == (1, "candidate")
    try:
        assert system.answer("models", "activate", "other")["state"] == "active"

        def answered_by(name: str) -> bool:
            return any(
                call.completion.model.name == name for run in newest_runs(system) for call in run.calls
            )

        eventually(lambda: answered_by(other.name), "a run is answered by the other model")
        runs = [run for run in newest_runs(system) if run.id not in before]
    finally:
        assert system.answer("models", "retire", "other")["state"] == "retired"
    decided = next(run for run in runs if run.calls and run.calls[0].completion.model.name == other.name)
    assert system.answer("replay", str(decided.id))["equal"], "the registry finds the model that decided"
    for run in runs:
        assert len({call.completion.model for call in run.calls}) <= 1, "a run saw two models"
        # the script has lines that fit no schema; a model that could not be asked leaves no call
        assert run.calls or run.state is not RunState.FAILED, run.summary
