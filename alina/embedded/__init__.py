"""Postgres, Redis and other servers on this machine, and their lifetimes."""
