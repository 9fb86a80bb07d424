"""Several models as one: the first that can answer does, and its completion says which it was."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import structlog

from alina.domain.ports import Model
from alina.domain.runs import Completion, CompletionRequest, ModelIdentity
from alina.errors import (
    ModelBudgetSpent,
    ModelBusy,
    ModelError,
    ModelRefused,
    ModelUnavailable,
    ProviderUnavailable,
    TransientError,
)
from alina.llm.circuit import Circuit, CircuitOpen

log = structlog.get_logger(__name__)


class Fallback:
    """A `Model` over others, each behind its own circuit breaker; asked in their order."""

    def __init__(self, models: Sequence[Model], *, circuits: Sequence[Circuit]) -> None:
        self._models = tuple(zip(models, circuits, strict=True))

    @property
    def identity(self) -> ModelIdentity:
        """Of the first; who answered is in the completion."""
        return self._models[0][0].identity

    def complete(
        self, request: CompletionRequest, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        """The first answer, within the one deadline.

        Raises what the only model does; of several, ModelBusy if a later try may do, else ModelError.
        """
        ends = time.monotonic() + float(request.deadline_seconds)
        failures: list[ModelError] = []
        for model, circuit in self._models:
            left = request if not failures else replace(request, deadline_seconds=_until(ends))
            if failures and left.deadline_seconds <= 0:
                break
            if failures and on_text is not None:
                on_text("")  # whatever the one before wrote
            try:
                return _asked(model, circuit, left, on_text)
            except ModelError as error:
                log.warning("model failed", model=model.identity.name, error=str(error))
                failures.append(error)
        raise _together(failures)


def _asked(
    model: Model, circuit: Circuit, request: CompletionRequest, on_text: Callable[[str], None] | None
) -> Completion:
    try:
        with circuit.call(_wait_of):
            return model.complete(request) if on_text is None else model.complete(request, on_text)
    except CircuitOpen as error:
        raise ProviderUnavailable(
            f"model {model.identity.name} failed before and is {error}",
            retry_after=error.wait,
            is_unanswered=True,
        ) from None


def _wait_of(error: BaseException) -> timedelta | None:
    """What speaks against a model; a prompt that is too long, or a spent budget, does not."""
    if isinstance(error, ProviderUnavailable) and error.retry_after:
        return error.retry_after
    return timedelta(0) if isinstance(error, ModelBusy | ModelRefused | ModelUnavailable) else None


def _until(ends: float) -> Decimal:
    return Decimal(str(round(ends - time.monotonic(), 3)))


def _together(failures: Sequence[ModelError]) -> ModelError:
    if len(failures) == 1:
        return failures[0]
    words = "; ".join(str(error) for error in failures)
    if any(isinstance(error, TransientError) for error in failures):
        return ModelBusy(f"no model answers: {words}")
    if all(isinstance(error, ModelBudgetSpent) for error in failures):
        return failures[-1]
    return ModelError(f"no model answers: {words}")
