"""`python -m alina.venue SPEC.json`: serve a venue until SIGTERM.

Exit code 2: the message on stderr says what to do.
"""

import os
import sys
from pathlib import Path

from alina.errors import AlinaError, ConfigError
from alina.venue.server import serve
from alina.venue.spec import VenueSpec


def main(arguments: list[str]) -> int:
    """Returns the process's exit code."""
    try:
        _refuse_exchange_keys()
        serve(_spec(arguments))
    except AlinaError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _refuse_exchange_keys() -> None:
    """The keys of a real exchange have no business here: the venue's own are in its spec."""
    found = [name for name in ("ALINA_EXCHANGE_API_KEY", "ALINA_EXCHANGE_SECRET") if name in os.environ]
    if found:
        raise ConfigError(
            f"{' and '.join(found)} must be in the environment of the execution worker only: "
            "take them out of the venue's environment"
        )


def _spec(arguments: list[str]) -> VenueSpec:
    if len(arguments) != 1:
        raise ConfigError("usage: python -m alina.venue SPEC.json")
    try:
        return VenueSpec.from_json(Path(arguments[0]).read_text())
    except OSError as error:
        raise ConfigError(f"the venue's spec {arguments[0]} is unreadable: {error.strerror}") from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
