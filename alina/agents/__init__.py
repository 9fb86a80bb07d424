"""Agents: what to look at, what to ask a model, and what to wish for. They trade nothing themselves."""
