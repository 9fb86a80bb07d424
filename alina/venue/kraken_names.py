"""What Kraken calls assets, markets, orders and trades.

Source: Kraken REST API, "Get Tradable Asset Pairs" and "Get Asset Info": the oldest assets carry an X or a Z
before their name, and Bitcoin and Dogecoin have names of their own.
"""

import re

from alina.venue.filters import Rules

#: asset -> Kraken's code of it and the name that people see
_OLD_ASSETS = {
    "BTC": ("XXBT", "XBT"),
    "DOGE": ("XXDG", "XDG"),
    "ETC": ("XETC", "ETC"),
    "ETH": ("XETH", "ETH"),
    "LTC": ("XLTC", "LTC"),
    "XLM": ("XXLM", "XLM"),
    "XMR": ("XXMR", "XMR"),
    "XRP": ("XXRP", "XRP"),
    "ZEC": ("XZEC", "ZEC"),
    "AUD": ("ZAUD", "AUD"),
    "CAD": ("ZCAD", "CAD"),
    "EUR": ("ZEUR", "EUR"),
    "GBP": ("ZGBP", "GBP"),
    "JPY": ("ZJPY", "JPY"),
    "USD": ("ZUSD", "USD"),
}


def asset_code(asset: str) -> str:
    """`XXBT` for BTC, `SOL` for SOL."""
    return _OLD_ASSETS.get(asset, (asset, asset))[0]


def asset_name(asset: str) -> str:
    """`XBT` for BTC, `SOL` for SOL."""
    return _OLD_ASSETS.get(asset, (asset, asset))[1]


def pair_name(rules: Rules) -> str:
    """`XBTUSD`."""
    return asset_name(rules.base) + asset_name(rules.quote)


def pair_id(rules: Rules) -> str:
    """`XXBTZUSD` where both assets are old ones, else the pair's name."""
    if rules.base in _OLD_ASSETS and rules.quote in _OLD_ASSETS:
        return asset_code(rules.base) + asset_code(rules.quote)
    return pair_name(rules)


def socket_name(rules: Rules) -> str:
    """`XBT/USD`."""
    return f"{asset_name(rules.base)}/{asset_name(rules.quote)}"


def order_txid(order_id: int) -> str:
    """`O00000-00000-000042`."""
    return _txid("O", order_id)


def trade_txid(trade_id: int) -> str:
    """`T00000-00000-000042`."""
    return _txid("T", trade_id)


def number_of(txid: str) -> int | None:
    """The order's or trade's number behind its transaction id; None: it is none of ours."""
    found = re.fullmatch(r"[OT]([0-9]{5})-([0-9]{5})-([0-9]{6})", txid, re.ASCII)
    return int("".join(found.groups())) if found else None


def _txid(letter: str, number: int) -> str:
    digits = f"{number:016d}"
    return f"{letter}{digits[:5]}-{digits[5:10]}-{digits[10:]}"
