"""Doors for programs: the Python client and the metrics. They enqueue by task name."""
