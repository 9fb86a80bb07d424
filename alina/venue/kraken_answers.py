"""Answers in Kraken's form: always status 200, with the errors in a list and the rest under `result`.

Source: Kraken REST API, "Errors".
"""

from typing import Any

from aiohttp import web

from alina.venue.refusal import Refusal

#: the code of a refusal and how its words begin -> Kraken's error; the first that fits counts
_ERRORS = (
    (-2010, "Account has insufficient balance", "EOrder:Insufficient funds"),
    (-2010, "Duplicate order", "EOrder:Duplicate order"),
    (-2010, "Order would immediately match", "EOrder:Post only order"),
    (-2010, "Stop price", "EOrder:Invalid price"),
    (-2010, "Market is closed", "EService:Market in cancel_only mode"),
    (-1013, "Filter failure: PRICE_FILTER", "EOrder:Tick size check failed"),
    (-1013, "Filter failure: LOT_SIZE", "EOrder:Order minimum not met"),
    (-1013, "Filter failure: NOTIONAL", "EOrder:Cost minimum not met"),
    (-1013, "Filter failure: PERCENT_PRICE", "EOrder:Invalid price"),
    (-1013, "Filter failure: MAX_NUM", "EOrder:Orders limit exceeded"),
    (-1111, "Parameter 'price'", "EGeneral:Invalid arguments:price"),
    (-1111, "", "EGeneral:Invalid arguments:volume"),
    (-1121, "", "EQuery:Invalid asset pair"),
    (-1021, "", "EAPI:Invalid nonce"),
    (-1022, "", "EAPI:Invalid signature"),
    (-2014, "", "EAPI:Invalid key"),
    (-2015, "", "EAPI:Invalid key"),
    (-1003, "", "EAPI:Rate limit exceeded"),
    (-1015, "", "EOrder:Rate limit exceeded"),
    (-1007, "", "EService:Unavailable"),
    (-2011, "", "EOrder:Unknown order"),
    (-2013, "", "EOrder:Unknown order"),
)
_ANY_OTHER = "EGeneral:Invalid arguments"


def error_of(refusal: Refusal) -> str:
    """What Kraken says where Binance says `refusal`."""
    for code, words, error in _ERRORS:
        if refusal.code == code and refusal.message.startswith(words):
            return error
    return _ANY_OTHER


def refused(refusal: Refusal) -> web.Response:
    """The errors alone; a limit that was exceeded is no HTTP status here."""
    return web.json_response({"error": [error_of(refusal)]})


def answered(result: Any) -> web.Response:
    return web.json_response({"error": [], "result": result})
