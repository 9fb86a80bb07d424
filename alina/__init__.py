"""ALINA: trading agents that think with local models, behind a risk kernel."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alina.api.client import Client

__all__ = ["Client", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Load `Client` on first use, so that importing a subpackage stays cheap."""
    if name == "Client":
        from alina.api.client import Client

        return Client
    raise AttributeError(f"module 'alina' has no attribute {name!r}")
