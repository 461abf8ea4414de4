"""Solvers: the methods that turn a batch of windows into an analysis."""
