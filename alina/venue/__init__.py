"""The local exchange: a small Binance Spot of our own that replays recorded candles.

Serve it with `python -m alina.venue SPEC.json`; point ccxt at it with `ccxt_options.venue_options`.
"""
