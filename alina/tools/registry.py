"""Finds tools: the built-in ones and those that installed packages offer.

A package offers a tool as an entry point of the group `alina.tools`: a class that takes its settings
(section `tools` of config.yaml, by the tool's name) as keyword arguments and has `name` and `figures`.
"""

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from alina.domain.ports import Tool
from alina.errors import ConfigError
from alina.tools.indicators import IndicatorsTool

GROUP = "alina.tools"
BUILT_IN: Mapping[str, Callable[..., Tool]] = {IndicatorsTool.name: IndicatorsTool}


def load_tools(settings: Mapping[str, Mapping[str, Any]]) -> tuple[Tool, ...]:
    """One tool a name in `settings`, in that order. Raises ConfigError for an unknown one or bad settings."""
    return tuple(_load(name, dict(arguments)) for name, arguments in settings.items())


def _load(name: str, arguments: dict[str, Any]) -> Tool:
    factory = BUILT_IN.get(name)
    if factory is None:
        offered = {point.name: point for point in entry_points(group=GROUP)}
        if name not in offered:
            known = ", ".join(sorted({*BUILT_IN, *offered}))
            raise ConfigError(f"tools: {name!r} is no installed tool: known are {known}; install its package")
        factory = cast("Callable[..., Tool]", _loaded(offered[name]))
    try:
        return factory(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"tools: {name}: {error}: mend its settings") from error


def _loaded(point: EntryPoint) -> Any:
    try:
        return point.load()
    except Exception as error:  # a package's import may raise anything
        raise ConfigError(
            f"tools: {point.name} cannot be loaded ({error}): mend or remove its package"
        ) from error
