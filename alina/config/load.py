"""Reads config.yaml and the environment; every refusal names the line and the remedy."""

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from alina.config.settings import Settings
from alina.errors import ConfigError

PREFIX = "ALINA_"
SECRETS = (
    "database_url",
    "agent_database_url",
    "executor_database_url",
    "monitor_database_url",
    "redis_url",
    "exchange_api_key",
    "exchange_secret",
    "flower_password",
    "model_keys",
)
#: variables that are not settings: where config.yaml is
NOT_SETTINGS = frozenset({"ALINA_CONFIG"})
Location = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """SafeLoader that keeps 0.1 as text: a float would not be exact."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:float"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_settings(path: Path | str | None = None) -> Settings:
    """The settings of `path` (default: ALINA_CONFIG, else ./config.yaml) with the environment over them.

    Raises ConfigError naming file, line and remedy.
    """
    file = Path(path or os.environ.get("ALINA_CONFIG") or "config.yaml").absolute()
    values, lines = _read(file)
    _refuse_secrets(file, values, lines)
    variables = _variables(os.environ)
    try:
        return Settings(**{**values, "config_file": file})
    except SettingsError as error:
        raise ConfigError(f"environment: {error}: lists and mappings are written as JSON") from None
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(file, e, lines, variables) for e in error.errors())) from None


def _read(file: Path) -> tuple[dict[str, Any], dict[Location, int]]:
    """The mapping in the file, and the line of each of its keys."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{file} does not exist: `alina init` writes one with every default") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None
    try:
        node = yaml.compose(text, Loader=_Loader)
        values = yaml.load(text, Loader=_Loader)  # noqa: S506  # a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        raise ConfigError(
            f"{file}{where}: not valid YAML ({getattr(error, 'problem', error)}): mend that line"
        ) from None
    if values is None:
        return {}, {}
    if not isinstance(values, dict):
        raise ConfigError(f"{file}:1: sections are needed, e.g. `market:` and its settings below")
    lines: dict[Location, int] = {}
    _note_lines(file, node, (), lines)
    # A section whose settings are all taken out is left with its name alone: every default.
    return {section: inner for section, inner in values.items() if inner is not None}, lines


def _note_lines(file: Path, node: yaml.Node | None, at: Location, lines: dict[Location, int]) -> None:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*at, index)] = item.start_mark.line + 1
            _note_lines(file, item, (*at, index), lines)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        here = (*at, key.value)
        if here in lines:
            raise ConfigError(f"{file}:{key.start_mark.line + 1}: {_dotted(here)} is set twice: keep one")
        lines[here] = key.start_mark.line + 1
        _note_lines(file, value, here, lines)


def _refuse_secrets(file: Path, values: Mapping[str, Any], lines: Mapping[Location, int]) -> None:
    for name in (*SECRETS, "config_file"):
        if name in values:
            remedy = f"set the environment variable {PREFIX}{name.upper()} instead"
            raise ConfigError(
                f"{file}:{lines[(name,)]}: {name} does not belong in this file: take it out and {remedy}"
            )


def _variables(environ: Mapping[str, str]) -> dict[Location, str]:
    """The ALINA_* variable behind each location; ConfigError for one that is no setting."""
    variables: dict[Location, str] = {}
    for variable in environ:
        keys = tuple(variable.removeprefix(PREFIX).lower().split("__"))
        if not variable.startswith(PREFIX) or variable in NOT_SETTINGS:
            continue
        is_section = len(keys) > 1 and keys[0] in Settings.model_fields
        if not is_section and keys[0] not in SECRETS:
            remedy = "write ALINA_SECTION__KEY, e.g. ALINA_RISK__COOLDOWN=30m"
            raise ConfigError(f"environment: {variable} is no setting: {remedy}")
        variables[keys] = variable
    return variables


def _explain(
    file: Path, error: ErrorDetails, lines: Mapping[Location, int], variables: Mapping[Location, str]
) -> str:
    """One line: where, what, remedy. The refused value itself is shown only by our own messages."""
    location: Location = error["loc"]
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = "unknown setting" + _suggestion(location)
    elif error["type"] == "missing":
        message = "this setting is needed"
    elif error["type"] in {"model_type", "model_attributes_type"}:
        message = "a section is needed: write its settings below it, indented"
    if location in variables:
        return f"environment: {variables[location]}: {message}"
    line = _line(location, message, lines)
    where = f"{file}:{line}" if line else f"{file}"
    return f"{where}: {_dotted(location)}: {message}" if location else f"{where}: {message}"


def _line(location: Location, message: str, lines: Mapping[Location, int]) -> int | None:
    """Of the setting, else of what is around it; where sections do not fit, of the first that is named."""
    around = [location[:length] for length in range(len(location), 0, -1)]
    named = [tuple(name.split(".")) for name in re.findall(r"[a-z_]+(?:\.[a-z_]+)+", message)]
    return next((lines[at] for at in (*around, *named) if at in lines), None)


def _suggestion(location: Location) -> str:
    section: Any = Settings
    for key in location[:-1]:
        field = section.model_fields.get(key)
        section = field.annotation if field else None
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            return ""
    names = [n for n in section.model_fields if n not in SECRETS]
    near = difflib.get_close_matches(str(location[-1]), names, n=1)
    return f": did you mean {near[0]}?" if near else f": known here are {', '.join(names)}"


def _dotted(location: Location) -> str:
    return ".".join(str(key) for key in location)
