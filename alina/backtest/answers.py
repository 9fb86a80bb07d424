"""A model's answers kept in a file: the same question of the same model is asked once.

What if the process dies here? A line is written whole or is the last one and torn: a torn last line is
dropped, and its question is asked again. So a run that was interrupted goes through its answers at once.
"""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from alina.domain.ports import Model
from alina.domain.runs import Completion, CompletionRequest, ModelIdentity
from alina.llm.answers import answer_key


class KeptAnswers:
    """A `Model` that asks the one given only for what its file does not hold."""

    def __init__(self, model: Callable[[], Model], identity: ModelIdentity, path: Path) -> None:
        """`model` is called for the first question that has no answer; `identity` is that model's."""
        self._model, self._identity, self._path = model, identity, path
        self._known = _read(path)
        #: questions that were answered from the file, and by the model
        self.found, self.asked = 0, 0

    @property
    def identity(self) -> ModelIdentity:
        return self._identity

    def complete(
        self, request: CompletionRequest, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        """The kept answer, or the model's, kept before it is returned. Raises what the model raises."""
        key = answer_key(self._identity, request)
        kept = self._known.get(key)
        if kept is not None:
            self.found += 1
            if on_text is not None:
                on_text(kept["text"])
            return Completion(model=self._identity, **kept)
        completion = self._model().complete(request, on_text)
        self.asked += 1
        if completion.model.sha256 != self._identity.sha256:  # of one that stood in for it
            return completion
        values = asdict(completion)
        del values["model"]
        self._known[key] = values
        self._append({"key": key, **values})
        return completion

    def _append(self, line: dict[str, object]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            size = file.tell()
            torn = size and os.pread(descriptor, 1, size - 1) != b"\n"
            file.write((b"\n" if torn else b"") + json.dumps(line).encode() + b"\n")


def _read(path: Path) -> dict[str, dict[str, Any]]:
    known: dict[str, dict[str, Any]] = {}
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            values = json.loads(line)
        except ValueError:  # torn by the end of a process
            continue
        known[values.pop("key")] = values
    return known
