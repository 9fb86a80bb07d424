"""The risk kernel: pure functions from a proposal, a snapshot and limits to a verdict."""
