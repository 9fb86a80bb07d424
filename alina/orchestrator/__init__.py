"""What happens in which order: the main path, learning, repair, and the processes that do it."""
