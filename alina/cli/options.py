"""The options before the command's name, as the commands find them."""

from dataclasses import dataclass
from pathlib import Path

import typer

from alina.config import Settings, load_settings


@dataclass(frozen=True, slots=True)
class Options:
    """What stands before the command: `alina --config FILE COMMAND`."""

    config: Path | None


def settings_of(context: typer.Context) -> Settings:
    """The settings that this command works with. Raises ConfigError."""
    options: Options = context.find_root().obj
    return load_settings(options.config)
