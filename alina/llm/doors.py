"""Where models elsewhere are reached, by name: addresses and habits, never a key.

The addresses and what each door takes are from the providers' own documentation, listed in docs/providers.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from alina.config.settings import Provider
from alina.errors import ConfigError

Protocol = Literal["openai", "anthropic"]
#: how a door is told the schema of its answer
Structured = Literal["json_schema", "tool", "json_object", "json_object_schema"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """One provider's address and what it understands."""

    name: str
    base_url: str
    protocol: Protocol = "openai"
    structured: Structured = "json_schema"
    #: whether its schemas may bound texts and numbers; else the bounds are told in words, and checked here
    takes_bounds: bool = False
    #: its name for the largest number of tokens of an answer
    limit_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    #: parameters it refuses
    omit: frozenset[str] = frozenset()
    needs_key: bool = True


_PRESETS = (
    Door(name="openai", base_url="https://api.openai.com/v1", limit_name="max_completion_tokens"),
    Door(name="anthropic", base_url="https://api.anthropic.com", protocol="anthropic"),
    Door(name="deepseek", base_url="https://api.deepseek.com", structured="json_object"),
    Door(name="openrouter", base_url="https://openrouter.ai/api/v1"),
    Door(name="moonshot", base_url="https://api.moonshot.ai/v1", structured="json_object"),
    Door(name="groq", base_url="https://api.groq.com/openai/v1"),
    Door(
        name="gemini",
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        omit=frozenset({"seed"}),
    ),
    Door(name="ollama", base_url="http://127.0.0.1:11434/v1", takes_bounds=True, needs_key=False),
    Door(name="vllm", base_url="http://127.0.0.1:8000/v1", takes_bounds=True, needs_key=False),
    Door(name="llama_server", base_url="http://127.0.0.1:8080/v1", takes_bounds=True, needs_key=False),
    # llama-cpp-python's own server
    Door(
        name="llama_cpp",
        base_url="http://127.0.0.1:8000/v1",
        structured="json_object_schema",
        takes_bounds=True,
        needs_key=False,
    ),
)
DOORS: Mapping[str, Door] = {door.name: door for door in _PRESETS}


def door_of(name: str, provider: Provider) -> Door:
    """The preset of that name, changed as `models.providers.NAME` says; or a door of its own.

    Raises ConfigError for an unknown name without an address, or one without encryption.
    """
    preset = DOORS.get(name)
    if preset is None and provider.base_url is None:
        raise ConfigError(
            f"provider {name!r} is unknown: known are {', '.join(DOORS)}; "
            f"or set models.providers.{name}.base_url"
        )
    door = preset or Door(name=name, base_url="", needs_key=False)
    told = provider.model_dump(include={"base_url", "protocol", "structured"}, exclude_none=True)
    return replace(door, **told, omit=door.omit | set(provider.omit))
