"""Who may ask: Kraken's API key, its HMAC-SHA512 signature and its nonce.

Source: Kraken REST API, "Authentication". The nonce must grow with every request of a key; a venue that
started again forgets the last one.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping

from alina.venue.params import Params
from alina.venue.refusal import Refusal

KEY_HEADER = "API-Key"


def api_sign(secret: str, path: str, nonce: str, body: str) -> str:
    """Base64 of the HMAC-SHA512, under the decoded secret, of the path and SHA-256(nonce + body)."""
    digest = hashlib.sha256((nonce + body).encode()).digest()
    mac = hmac.new(base64.b64decode(secret), path.encode() + digest, hashlib.sha512)
    return base64.b64encode(mac.digest()).decode()


class KrakenSigning:
    """Checks one account's requests."""

    def __init__(self, api_key: str, secret: str) -> None:
        self._api_key = api_key
        self._secret = secret
        self._last_nonce = 0

    def check(self, headers: Mapping[str, str], path: str, body: str, params: Params) -> None:
        """Raise the Refusal of a request that is not this account's, or no newer than the last."""
        key, given = headers.get(KEY_HEADER, ""), headers.get("API-Sign", "")
        if not hmac.compare_digest(key.encode(), self._api_key.encode()):
            raise Refusal(-2015, "Invalid API-key.")
        nonce = params.integer("nonce")
        expected = api_sign(self._secret, path, params.text("nonce"), body)
        if not hmac.compare_digest(given.encode(), expected.encode()):
            raise Refusal(-1022, "Signature for this request is not valid.")
        if nonce <= self._last_nonce:
            raise Refusal(-1021, f"The nonce must be above {self._last_nonce}.")
        self._last_nonce = nonce
