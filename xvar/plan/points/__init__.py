"""Assimilation of observations at points: the table, its places on the grid, the windows, the labels."""

from xvar.plan.points.table import Points, pixels
from xvar.plan.points.windows import assimilate_points

__all__ = ["Points", "assimilate_points", "pixels"]
