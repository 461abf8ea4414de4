"""Models of the state in time."""
