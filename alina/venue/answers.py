"""A Refusal as Binance answers it."""

from aiohttp import web

from alina.venue.refusal import Refusal


def refused(refusal: Refusal) -> web.Response:
    headers = {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
    return web.json_response(
        {"code": refusal.code, "msg": refusal.message}, status=refusal.status, headers=headers
    )
