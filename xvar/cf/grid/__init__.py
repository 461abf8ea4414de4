"""The horizontal grid in true metres, whatever the coordinates are."""

from xvar.cf.grid.geometry import HorizontalGrid, axis_directions, horizontal_grid

__all__ = ["HorizontalGrid", "axis_directions", "horizontal_grid"]
