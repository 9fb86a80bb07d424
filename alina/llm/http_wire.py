"""What the wires of providers share: the door, the key, how long they wait, and what a failure means."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, ClassVar

import httpx2

from alina.domain.runs import CompletionRequest
from alina.errors import ModelError, ProviderUnavailable
from alina.llm.doors import Door
from alina.llm.remote import Piece, refusal, unreachable


class HttpWire(ABC):
    """A `Wire` over a provider's own package."""

    #: all that the package raises for a request, and of these what bears an HTTP status
    api_error: ClassVar[type[Exception]]
    status_error: ClassVar[Any]
    #: what an answer is called there
    answer_name: ClassVar[str]

    def __init__(self, door: Door, model: str, *, key: str | None, connect: float, read: float) -> None:
        """`connect` and `read` in seconds. The key is kept here and nowhere else."""
        self._door, self._model, self._key = door, model, key
        self._timeout = httpx2.Timeout(read, connect=connect)
        self._tls = httpx2.create_ssl_context()  # once: it takes longer than a request

    async def pieces(self, request: CompletionRequest) -> AsyncGenerator[Piece]:
        """Raises ProviderUnavailable and ModelRefused."""
        try:
            async with aclosing(self._asked(request)) as pieces:
                async for piece in pieces:
                    yield piece
        except (self.api_error, httpx2.HTTPError) as error:
            raise self._explained(error) from None
        except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
            raise ProviderUnavailable(
                f"{self._door.name} ({self._door.base_url}) wrote what is no {self.answer_name} "
                f"({type(error).__name__}): look whether base_url is right"
            ) from None

    @abstractmethod
    def _asked(self, request: CompletionRequest) -> AsyncGenerator[Piece]:
        """Ask through the package, which may raise whatever it likes."""

    def _options(self) -> dict[str, Any]:
        """Of the package's client: nothing is repeated."""
        return {
            "api_key": self._key or "none",
            "base_url": self._door.base_url,
            "timeout": self._timeout,
            "max_retries": 0,
        }

    def _http_options(self) -> dict[str, Any]:
        """Of its HTTP client: no redirect is followed."""
        return {"follow_redirects": False, "timeout": self._timeout, "verify": self._tls}

    def _explained(self, error: Any) -> ModelError:
        if isinstance(error, self.status_error) and error.status_code >= 300:
            said = error.message.replace(self._key, "***") if self._key else error.message
            return refusal(self._door, self._model, error.status_code, error.response.headers, said)
        return unreachable(self._door, error)
