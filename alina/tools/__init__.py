"""Tools: figures for prompts, computed by code from what may be known at `as_of`."""
