"""The local exchange: a small Binance Spot of our own that replays recorded candles.

What is simpler than a real exchange: one account; the book is whole again after every order; a resting
order is filled whole once the other side's best price comes to its limit (no queue, no volume); stop
orders do not trail; limits on weight and orders are enforced only where the spec says so; in an outage of
the data the last price stands and may be traded at; and who knows the path inside a candle can tell from
its first third where it will close.

Serve it with `python -m alina.venue SPEC.json`; point ccxt at it with `ccxt_options.venue_options`.
"""
