"""Which model a task asks. Another may be activated at any moment: a task never sees two."""

from collections.abc import Callable
from uuid import UUID

from alina.domain.models import RegisteredModel
from alina.domain.ports import Model


class ChosenModel:
    """Calling it gives the task's model: chosen at the task's first question, the same until `forget`.

    For one task at a time, as in a child of a prefork worker.
    """

    def __init__(
        self,
        active: Callable[[], RegisteredModel | None],
        open_model: Callable[[RegisteredModel | None], Model],
    ) -> None:
        """`active` is asked once a task; None: the settings' own model, as `open_model` knows it too."""
        self._active, self._open_model = active, open_model
        self._known: dict[UUID | None, Model] = {}
        self._chosen: Model | None = None

    def __call__(self) -> Model:
        """Raises ModelUnavailable, ConfigError, DatabaseUnavailable; the next call then chooses again."""
        if self._chosen is None:
            self._chosen = self._model_of(self._active())
        return self._chosen

    def forget(self) -> None:
        """A task has begun: choose again at its first question."""
        self._chosen = None

    def _model_of(self, registered: RegisteredModel | None) -> Model:
        """Each is made once a process: what stands before a model remembers its failures."""
        key = registered.id if registered else None
        if key not in self._known:
            self._known[key] = self._open_model(registered)
        return self._known[key]
