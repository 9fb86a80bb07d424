"""The options before the command's name, as the commands find them, and words that several commands take."""

from dataclasses import dataclass
from getpass import getuser
from pathlib import Path
from typing import Annotated

import typer

from alina.config import Settings, load_settings
from alina.errors import ConfigError

By = Annotated[
    str | None, typer.Option("--by", help="Whose word it is. Default: the operating system's user.")
]


@dataclass(frozen=True, slots=True)
class Options:
    """What stands before the command: `alina --config FILE COMMAND`."""

    config: Path | None


def settings_of(context: typer.Context) -> Settings:
    """The settings that this command works with. Raises ConfigError."""
    options: Options = context.find_root().obj
    return load_settings(options.config)


def person(by: str | None) -> str:
    """Whose word it is. Raises ConfigError for a name that says nothing, or too much."""
    return worded("--by", by, most=200) or getuser()


def worded(option: str, given: str | None, *, most: int) -> str | None:
    """What was given, if anything was. Raises ConfigError unless it says something, in so many characters."""
    if given is not None and not (given.strip() and len(given) <= most):
        raise ConfigError(f"{option} must say something, in at most {most} characters")
    return given
