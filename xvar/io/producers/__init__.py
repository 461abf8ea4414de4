"""Producers of files: one module each maps what its files state to CF; `table` has them all."""
