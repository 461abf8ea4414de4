"""The horizontal grid in true metres, whatever the coordinates are."""

from xvar.cf.grid.base import GridKind, HorizontalGrid
from xvar.cf.grid.recognition import horizontal_grid

__all__ = ["GridKind", "HorizontalGrid", "horizontal_grid"]
