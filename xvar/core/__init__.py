"""The numerics: torch only, window batch first, without labels, units or files."""
