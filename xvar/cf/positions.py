"""Positions of points on a grid: from coordinates to fractional rows and columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvar.cf.geodesy import Floats

#: Largest number of Gauss-Newton steps; each doubles the digits.
STEPS = 20
#: Accuracy of a position, in cells.
CLOSE = 1e-9
#: Largest distance of a point beyond the edge that counts as rounding, in cells.
SLACK = 1e-6


def along_line(coordinate: Floats, where: Floats) -> Floats:
    """Return the position in an ascending 1-D coordinate, in steps of its index; NaN beyond its ends."""
    return np.interp(where, coordinate, np.arange(coordinate.size), left=np.nan, right=np.nan)


def on_curvilinear(latitude: Floats, longitude: Floats, north: Floats, east: Floats) -> Floats:
    r"""Return the positions (2, point), x and y in grid units, of points on a grid of 2-D latitude and longitude.

    Between four grid points the grid is bilinear in the unit vectors of its points; the position is the zero of the
    component along the grid of

    .. math:: r(i, j) = \frac{p(i, j)}{|p(i, j)|} - p_0

    by Gauss-Newton steps from the nearest grid point (k-d tree). `latitude` and `longitude` (y, x) are finite, `north`
    and `east` (point,) in degrees, longitudes in any turn. NaN outside the grid, or if a coordinate is NaN.
    """
    from scipy.spatial import cKDTree

    nodes, points = _unit(latitude, longitude), _unit(north, east)
    ny, nx = latitude.shape
    known = np.isfinite(points).all(axis=0)
    found = np.full((2, points.shape[1]), np.nan)
    chosen = np.flatnonzero(known)
    target = points[:, chosen]
    nearest = cKDTree(nodes.reshape(3, -1).T).query(target.T)[1].astype(int)
    place = np.stack([nearest % nx, nearest // nx]).astype("float64")
    for _ in range(STEPS):
        column = np.clip(np.floor(place[0]), 0, nx - 2).astype(int)
        row = np.clip(np.floor(place[1]), 0, ny - 2).astype(int)
        p, q = place[0] - column, place[1] - row
        a, b = nodes[:, row, column], nodes[:, row, column + 1]
        c, d = nodes[:, row + 1, column], nodes[:, row + 1, column + 1]
        here = (1 - q) * ((1 - p) * a + p * b) + q * ((1 - p) * c + p * d)
        along_x, along_y = (1 - q) * (b - a) + q * (d - c), (1 - p) * (c - a) + p * (d - b)
        # The chord lies below the sphere: compare directions.
        residual = target * (here * target).sum(0) - here
        xx, yy, xy = (along_x**2).sum(0), (along_y**2).sum(0), (along_x * along_y).sum(0)
        rx, ry = (along_x * residual).sum(0), (along_y * residual).sum(0)
        determinant = xx * yy - xy**2
        with np.errstate(invalid="ignore", divide="ignore"):
            step = np.stack([(yy * rx - xy * ry) / determinant, (xx * ry - xy * rx) / determinant])
        step = np.clip(step, -2.0, 2.0)
        # At most a cell beyond the edge: points farther away are outside.
        place = np.clip(place + step, -1.0, [[nx], [ny]])
        if not (np.abs(np.nan_to_num(step)) > CLOSE).any():
            break
    edge = np.array([[nx - 1.0], [ny - 1.0]])
    inside = ((place >= -SLACK) & (place <= edge + SLACK)).all(axis=0)
    found[:, chosen] = np.where(inside, np.clip(place, 0.0, edge), np.nan)
    return found


def _unit(latitude: Any, longitude: Any) -> NDArray[np.float64]:
    phi, lam = np.deg2rad(np.asarray(latitude, dtype="float64")), np.deg2rad(np.asarray(longitude, dtype="float64"))
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)])
