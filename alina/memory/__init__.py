"""What agents remember: facts in two times, recalled by meaning as of a moment."""
