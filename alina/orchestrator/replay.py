"""The same decision once more: stored requests asked again, their texts compared bit for bit."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from alina.domain.ports import Model
from alina.domain.records import Record
from alina.domain.runs import ModelIdentity, Run
from alina.errors import ModelError
from alina.llm import structured


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedCall(Record):
    """One model call of a run, then and now."""

    attempt: int
    then: str
    now: str
    model_then: ModelIdentity
    model_now: ModelIdentity
    tokens_per_second: Decimal

    @property
    def is_equal(self) -> bool:
        return self.then == self.now


def replay(run: Run, open_model: Callable[[ModelIdentity], Model]) -> list[ReplayedCall]:
    """Ask every stored request of `run` again, of the model that `open_model` gives for the stored identity.

    Raises ModelError for a run that no model took part in, or whose model file has another hash.
    """
    if not run.calls:
        raise ModelError(f"run {run.id} asked no model ({run.state.value}: {run.summary}): nothing to replay")
    replayed = []
    for call in run.calls:
        then = call.completion.model
        model = open_model(then)
        if model.identity.sha256 != then.sha256:
            raise ModelError(
                f"run {run.id} was decided by {then.name} (sha256 {then.sha256[:12]}), the configured model "
                f"is {model.identity.name} ({model.identity.sha256[:12]}): set models.default to the former"
            )
        again = structured.replay(model, call)
        replayed.append(
            ReplayedCall(
                attempt=call.attempt,
                then=call.completion.text,
                now=again.text,
                model_then=then,
                model_now=model.identity,
                tokens_per_second=again.tokens_per_second,
            )
        )
    return replayed
