"""Doors: presets by name, changed or replaced by the settings, and written down as they are."""

from pathlib import Path

import pytest

from alina.config.settings import Provider
from alina.errors import ConfigError
from alina.llm.doors import DOORS, Door, door_of
from alina.llm.providers import split

DOCUMENTED = (Path(__file__).parents[2] / "docs" / "providers.md").read_text()


@pytest.mark.parametrize("door", DOORS.values(), ids=lambda door: door.name)
def test_every_preset_stands_in_the_documentation(door: Door) -> None:
    line = next(line for line in DOCUMENTED.splitlines() if line.startswith(f"| {door.name} |"))
    assert f"`{door.base_url}`" in line
    assert f"| {door.structured}".replace("json_object_schema", "json_object with a schema") in line


def test_a_door_without_encryption_is_on_this_machine_and_any_other_needs_a_key() -> None:
    for door in DOORS.values():
        assert door.base_url.startswith("https://" if door.needs_key else "http://127.0.0.1:")


def test_the_settings_change_a_preset_in_part() -> None:
    door = door_of("groq", Provider(structured="tool", omit=("seed",)))
    assert door.base_url == DOORS["groq"].base_url
    assert (door.structured, door.omit) == ("tool", {"seed"})
    kept = door_of("gemini", Provider(omit=("temperature",)))
    assert kept.omit == {"seed", "temperature"}


def test_a_name_of_ones_own_needs_an_address() -> None:
    door = door_of("mine", Provider(base_url="https://llm.example/v1", protocol="anthropic"))
    assert (door.name, door.protocol, door.base_url) == ("mine", "anthropic", "https://llm.example/v1")
    with pytest.raises(ConfigError, match=r"models\.providers\.mine\.base_url"):
        door_of("mine", Provider())


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1.evil.example/v1", "http://models.example", "https://u:p@x.example", "x.example"]
)
def test_an_address_in_the_clear_or_with_a_password_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        Provider(base_url=url)


def test_a_models_name_may_hold_slashes() -> None:
    assert split("provider:openrouter/meta-llama/llama-3.3-70b") == (
        "openrouter",
        "meta-llama/llama-3.3-70b",
    )
