"""From `provider:NAME/MODEL` to a model that can be asked."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from alina.config.settings import Models, Provider
from alina.domain.ports import Model
from alina.errors import ConfigError
from alina.llm.doors import Door, door_of

if TYPE_CHECKING:
    from alina.llm.anthropic_messages import AnthropicMessages
    from alina.llm.openai_compatible import OpenAICompatible

PROVIDER = "provider:"


def is_elsewhere(source: str) -> bool:
    """Whether a provider runs the model that `source` names."""
    return source.startswith(PROVIDER)


def open_provider(source: str, models: Models, key_of: Callable[[str, Provider], str | None]) -> Model:
    """The model that `source` names; nothing is asked yet. `key_of(name, provider)` finds the key.

    Raises ConfigError for an unknown provider, a missing key, and a package that is not installed.
    """
    door, provider, model = door_to(source, models)
    key = key_of(door.name, provider)
    if key is None and door.needs_key:
        raise ConfigError(
            f"{source} needs a key: set ALINA_MODEL_KEYS__{door.name.upper()} where the inference worker "
            f"starts, or models.providers.{door.name}.api_key_file"
        )
    if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigError(
            f"the key of {door.name} holds a line break, a space or a letter that no key has: look for what "
            "was copied along with it"
        )
    return _opened(door, model, provider, key, models.context_length)


def door_to(source: str, models: Models) -> tuple[Door, Provider, str]:
    """The provider's door as the settings have it, and what it calls the model. Raises ConfigError."""
    name, model = split(source)
    provider = models.providers.get(name, Provider())
    return door_of(name, provider), provider, model


def split(source: str) -> tuple[str, str]:
    """The provider's name, and what it calls the model. Raises ConfigError."""
    name, _, model = source.removeprefix(PROVIDER).partition("/")
    if not (is_elsewhere(source) and name and model):
        raise ConfigError(f"{source!r} names no model: write provider:NAME/MODEL, e.g. provider:ollama/qwen3")
    return name, model


def _opened(door: Door, model: str, provider: Provider, key: str | None, context_length: int) -> Model:
    # Imported here: the packages are optional, and only the processes that think need one.
    try:
        from alina.llm.remote import RemoteModel

        speak = _protocol(door)
    except ImportError as error:
        raise ConfigError(
            f"{door.name} is reached through the package {door.protocol}: "
            f"pip install 'alina[{door.protocol}]' ({error.name} is missing)"
        ) from None
    connect, read = (each.total_seconds() for each in (provider.connect_timeout, provider.read_timeout))
    return RemoteModel(
        speak(door, model, key=key, connect=connect, read=read),
        door,
        model,
        context_length=provider.context_length or context_length,
    )


def _protocol(door: Door) -> "type[OpenAICompatible] | type[AnthropicMessages]":
    if door.protocol == "anthropic":
        from alina.llm.anthropic_messages import AnthropicMessages

        return AnthropicMessages
    from alina.llm.openai_compatible import OpenAICompatible

    return OpenAICompatible
