"""Who may ask: Binance's API key, HMAC-SHA256 signature and receive window.

Source: Binance Spot API, "Endpoint security type" and "Signed endpoint security".
"""

import hashlib
import hmac
from collections.abc import Mapping

from alina.venue.params import Params
from alina.venue.refusal import Refusal

KEY_HEADER = "X-MBX-APIKEY"
_DEFAULT_WINDOW_MS = 5000
_LONGEST_WINDOW_MS = 60_000
_AHEAD_MS = 1000


def signature(secret: str, payload: str) -> str:
    """HMAC-SHA256, in hex, over the exact text that was sent."""
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


class Signing:
    """Checks one account's requests. `wall_ms` is the venue's wall clock."""

    def __init__(self, api_key: str, secret: str) -> None:
        self._api_key = api_key
        self._secret = secret

    def check(self, headers: Mapping[str, str], query: str, body: str, params: Params, wall_ms: int) -> None:
        """Raise the Refusal of a request that is not this account's, or not of this moment."""
        key = headers.get(KEY_HEADER, "")
        if not key:
            raise Refusal(-2014, "API-key format invalid.", status=401)
        if not hmac.compare_digest(key.encode(), self._api_key.encode()):
            raise Refusal(-2015, "Invalid API-key, IP, or permissions for action.", status=401)
        given = params.text("signature")
        self._check_time(params, wall_ms)
        expected = signature(self._secret, _unsigned(query) + _unsigned(body))
        if not hmac.compare_digest(given.encode(), expected.encode()):
            raise Refusal(-1022, "Signature for this request is not valid.")

    def _check_time(self, params: Params, wall_ms: int) -> None:
        sent = params.integer("timestamp")
        window = min(params.optional_integer("recvWindow") or _DEFAULT_WINDOW_MS, _LONGEST_WINDOW_MS)
        if sent > wall_ms + _AHEAD_MS:
            raise Refusal(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        if wall_ms - sent > window:
            raise Refusal(-1021, "Timestamp for this request is outside of the recvWindow.")


def _unsigned(text: str) -> str:
    """Everything but the signature, which is the last parameter."""
    before, found, _ = text.rpartition("signature=")
    return before.removesuffix("&") if found else text
