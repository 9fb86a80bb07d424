"""The same cycle, kernel and execution over history, and what is to be learnt from it."""
