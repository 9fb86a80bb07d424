"""The model that an option names: the script that comes with us, a source, or a registered model."""

from pathlib import Path
from typing import TYPE_CHECKING

from alina.errors import ConfigError, SystemStateError

if TYPE_CHECKING:
    from alina.config import Settings

SCRIPTED = "scripted"


def source_of(settings: "Settings", named: str) -> str:
    """A source as models.default has it: of `scripted` alone our own script.

    Raises ConfigError or ModelUnavailable for what is neither a source nor registered.
    """
    if named == SCRIPTED:
        from alina.llm.scripted import SHIPPED

        return f"{SCRIPTED}:{SHIPPED}"
    if ":" in named or settings.path(Path(named)).is_file():
        return named
    return _registered(settings, named)


def _registered(settings: "Settings", named: str) -> str:
    from alina.cli.database import open_database
    from alina.db.engine import transaction
    from alina.llm import opening
    from alina.llm.catalogue import ModelCatalogue

    try:
        with open_database(settings) as sessions, transaction(sessions) as session:
            registered = ModelCatalogue(session).get(named)
    except SystemStateError:
        raise ConfigError(
            f"--model {named}: neither a GGUF file, scripted[:FILE.jsonl] or provider:NAME/MODEL, nor "
            "registered: nothing is (`alina models add`)"
        ) from None
    opening.check_registered(settings, registered)
    return registered.facts.source
