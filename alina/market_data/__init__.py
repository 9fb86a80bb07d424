"""Candles by the million: arrays of a market, the files that hold them, and what is wrong with them."""
