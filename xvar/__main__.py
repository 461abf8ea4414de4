"""``python -m xvar``."""

from __future__ import annotations

from xvar.cli import main

if __name__ == "__main__":
    main()
