"""The numerics: torch only, window batch first. Nothing here knows of labels, units or files."""
