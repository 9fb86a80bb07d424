"""The way to an exchange: any ccxt spot exchange as the Exchange port, and the store of its candles."""
