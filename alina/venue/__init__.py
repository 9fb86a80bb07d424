"""The local exchange: a small Binance Spot of our own that replays recorded candles, or a small Kraken.

What is simpler than a real exchange: the book is whole again after every order that takes from it; a
resting order is filled once the other side's best price comes to its limit, though the resting orders of one
side get of one candle no more than one side of the book holds; stop orders do not trail; limits on weight
and orders are enforced only where the spec says so; and the path inside a candle is known to everybody.

Serve it with `python -m alina.venue SPEC.json`; point ccxt at it with `ccxt_options.venue_options`. For a
backtest it runs in this process: `in_process.InProcessExchange`.
"""
