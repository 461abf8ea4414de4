"""How a file is understood, in words."""

from __future__ import annotations

from xvar.check.understanding import describe

__all__ = ["describe"]
