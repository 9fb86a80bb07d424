"""What `alina up` was told beyond the configuration, for the commands that look at what runs."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from alina.cli.options import settings_of
from alina.config import Settings

if TYPE_CHECKING:
    from alina.embedded.folder import DataFolder

_FILE = "run/environment.json"


@contextmanager
def telling(folder: "DataFolder", changes: Mapping[str, str]) -> Iterator[None]:
    """Leave these variables for other commands, as long as it lasts. No secret belongs in them."""
    path = folder.write(_FILE, json.dumps(changes, indent=1))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def running_settings_of(context: typer.Context) -> Settings:
    """The settings of the system that runs, or would run. Raises ConfigError."""
    settings = settings_of(context)
    file = settings.data_folder / _FILE
    if not file.exists() or not _is_running(settings):  # a killed `alina up` may have left it
        return settings
    with _environment(json.loads(file.read_text(encoding="utf-8"))):
        return settings_of(context)


def _is_running(settings: Settings) -> bool:
    from alina.embedded.folder import DataFolder
    from alina.orchestrator.supervisor import process_table

    return any(process.alive for process in process_table(DataFolder(settings.data_folder)))


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
