"""The same decision once more: stored requests asked again, their texts compared bit for bit.

The text is promised to be the same where the same file answers, by the same build of llama.cpp, in the same
layout: context, threads and batch. Whatever of these is not as it was then is told beside the text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from difflib import unified_diff

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
        """Whether the text is the same, bit for bit."""
        return self.then == self.now

    @property
    def changed(self) -> tuple[str, ...]:
        """What is not as it was of all that the text depends on: fields of ModelIdentity, by name."""
        names = (field.name for field in fields(ModelIdentity) if field.name != "name")
        return tuple(
            name for name in names if getattr(self.model_then, name) != getattr(self.model_now, name)
        )

    def difference(self) -> list[str]:
        """A unified diff from then to now: what changed of the model, then the text."""
        then = [f"{name}: {getattr(self.model_then, name)}" for name in self.changed]
        now = [f"{name}: {getattr(self.model_now, name)}" for name in self.changed]
        return list(
            unified_diff(
                [*then, *self.then.splitlines()], [*now, *self.now.splitlines()], "then", "now", lineterm=""
            )
        )


def is_same(calls: Sequence[ReplayedCall]) -> bool:
    """Whether the same model gave the same texts."""
    return all(call.is_equal and not call.changed for call in calls)


def replay(run: Run, open_model: Callable[[ModelIdentity], Model]) -> list[ReplayedCall]:
    """Ask every stored request of `run` again, of the model that `open_model` gives for the stored identity.

    Raises ModelError for a run that no model took part in.
    """
    if not run.calls:
        raise ModelError(f"run {run.id} asked no model ({run.state.value}: {run.summary}): nothing to replay")
    replayed = []
    for call in run.calls:
        model = open_model(call.completion.model)
        again = structured.replay(model, call)
        replayed.append(
            ReplayedCall(
                attempt=call.attempt,
                then=call.completion.text,
                now=again.text,
                model_then=call.completion.model,
                model_now=again.model,
                tokens_per_second=again.tokens_per_second,
            )
        )
    return replayed
