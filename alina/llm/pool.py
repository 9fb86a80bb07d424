"""The models that one process holds, within the memory that all children of its worker may use together.

Weights are mapped, so that the children share them: they count once. What a context keeps of its tokens
counts once a child, since every child opens the same models.
"""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from threading import RLock

from alina.domain.ports import Model
from alina.domain.runs import Completion, CompletionRequest, Message, ModelIdentity
from alina.errors import ModelError, ModelUnavailable
from alina.llm.prefix_store import NO_PREFIXES, PrefixStore
from alina.llm.registry import (
    NO_VOCABULARIES,
    Need,
    Vocabularies,
    identity_of,
    memory_needed,
    open_model,
)

_WARM_UP = CompletionRequest(
    messages=(Message("user", "Say yes."),),
    json_schema=None,
    max_tokens=1,
    temperature=Decimal(0),
    seed=0,
    deadline_seconds=Decimal(60),
)


@dataclass(frozen=True, slots=True)
class Layout:
    """What is opened, and how."""

    source: str
    context_length: int
    threads: int
    #: of the registered file; None: whatever the source names now
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class _Held:
    model: Model
    need: Need


class ModelPool:
    """Opens models when they are asked; the one asked longest ago makes room for another."""

    def __init__(
        self,
        *,
        budget_bytes: int,
        children: int,
        prefixes: PrefixStore = NO_PREFIXES,
        vocabularies: Vocabularies = NO_VOCABULARIES,
    ) -> None:
        """`vocabularies`: those that were read before the fork."""
        self._budget, self._children, self._prefixes = budget_bytes, children, prefixes
        self._vocabularies = vocabularies
        self._held: OrderedDict[ModelIdentity, _Held] = OrderedDict()
        self._lock = RLock()

    def model(self, layout: Layout) -> "PooledModel":
        """The model of this layout; its memory is taken at its first answer.

        Raises ModelUnavailable for a file that is missing, foreign or changed, or a model that never fits.
        """
        self.check_fits(layout)
        return PooledModel(self, layout)

    def check_fits(self, layout: Layout) -> None:
        """Raise ModelUnavailable, with the figures, if this model does not fit even alone."""
        need = memory_needed(layout.source, layout.context_length)
        if self._bytes_of(need) > self._budget:
            raise ModelUnavailable(
                f"model {layout.source} needs {_gb(need.weights)} for its weights and {_gb(need.context)} "
                f"for each of {self._children} contexts, and execution.ram_limit leaves models "
                f"{_gb(self._budget)}: choose a smaller quantisation, or lower models.context_length or "
                "execution.concurrency"
            )

    def held(self) -> list[ModelIdentity]:
        """What is open, the one asked longest ago first."""
        with self._lock:
            return list(self._held)

    @property
    def private_bytes(self) -> int:
        """What this process has to itself of it: contexts and prefixes, not the shared weights."""
        with self._lock:
            return sum(each.need.context for each in self._held.values()) + self._prefixes.held_bytes

    def opened(self, layout: Layout, identity: ModelIdentity) -> Model:
        """The open model of this layout, opened now if it is not. Raises ModelUnavailable."""
        with self._lock:
            held = self._held.get(identity) or self._open(layout, identity)
            self._held.move_to_end(identity)
            return held.model

    def close(self) -> None:
        """Give all memory back."""
        with self._lock:
            while self._held:
                self._close_oldest()

    def _open(self, layout: Layout, identity: ModelIdentity) -> _Held:
        self.check_fits(layout)
        need = memory_needed(layout.source, layout.context_length)
        while self._held and self._used() + self._bytes_of(need) > self._budget:
            self._close_oldest()
        model = open_model(
            layout.source,
            context_length=layout.context_length,
            threads=layout.threads,
            sha256=identity.sha256,
            prefixes=self._prefixes,
            vocabularies=self._vocabularies,
        )
        self._held[identity] = _Held(model, need)
        return self._held[identity]

    def _close_oldest(self) -> None:
        _, oldest = self._held.popitem(last=False)
        close: Callable[[], None] | None = getattr(oldest.model, "close", None)
        if close is not None:
            close()

    def _used(self) -> int:
        return sum(self._bytes_of(each.need) for each in self._held.values())

    def _bytes_of(self, need: Need) -> int:
        return need.weights + need.context * self._children


class PooledModel:
    """A `Model` that is open while it is asked, and may have been closed meanwhile when it is asked again."""

    def __init__(self, pool: ModelPool, layout: Layout) -> None:
        self._pool, self._layout = pool, layout
        self._identity = identity_of(
            layout.source,
            context_length=layout.context_length,
            threads=layout.threads,
            sha256=layout.sha256,
        )

    @property
    def identity(self) -> ModelIdentity:
        return self._identity

    def complete(
        self, request: CompletionRequest, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        """As `LlamaCppModel.complete`; ModelUnavailable too, where it cannot be opened again."""
        return self._pool.opened(self._layout, self._identity).complete(request, on_text)

    def warm_up(self) -> None:
        """Open it and read its weights, so that the first task does not wait for the disk."""
        with suppress(ModelError):  # the task that asks will say so
            self.complete(_WARM_UP)


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
