"""Where points lie on a grid: from their coordinates to rows and columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvar.cf.geodesy import Floats

#: Points whose distances to every grid point are held at once.
CHUNK = 2**22
#: Newton steps; each doubles the digits.
STEPS = 20
#: Of a cell, within which a position is found.
CLOSE = 1e-9
#: How far beyond the edge of a curvilinear grid rounding may put a point, in cells.
SLACK = 1e-6


def along_line(coordinate: Floats, where: Floats) -> Floats:
    """Position in an ascending 1-D coordinate, in steps of its index; NaN beyond its ends."""
    return np.interp(where, coordinate, np.arange(coordinate.size), left=np.nan, right=np.nan)


def on_curvilinear(latitude: Floats, longitude: Floats, north: Floats, east: Floats) -> Floats:
    r"""Position of points on a grid of 2-D latitude and longitude.

    Between four grid points the grid is bilinear in the unit vectors of its points; the point is where the residual

    .. math:: r(i, j) = \frac{p(i, j)}{|p(i, j)|} - p_0

    has no part along the grid: Gauss and Newton's steps from the nearest grid point.

    Parameters
    ----------
    latitude, longitude : ndarray
        (y, x), degrees, all finite, with both indices in the order of the grid; two points or more along each.
    north, east : ndarray
        (point,), degrees, longitudes in any turn.

    Returns
    -------
    ndarray
        (2, point): along x and along y, in grid units; NaN outside the grid, and where a coordinate is NaN.
    """
    nodes, points = _unit(latitude, longitude), _unit(north, east)
    ny, nx = latitude.shape
    known = np.isfinite(points).all(axis=0)
    found = np.full((2, points.shape[1]), np.nan)
    chosen = np.flatnonzero(known)
    flat = nodes.reshape(3, -1)
    for part in np.array_split(chosen, max(1, -(-chosen.size * flat.shape[1] // CHUNK))):
        nearest = (points[:, part].T @ flat).argmax(axis=1)
        found[:, part] = np.stack([nearest % nx, nearest // nx]).astype("float64")
    place, target = found[:, chosen], points[:, chosen]
    for _ in range(STEPS):
        column = np.clip(np.floor(place[0]), 0, nx - 2).astype(int)
        row = np.clip(np.floor(place[1]), 0, ny - 2).astype(int)
        p, q = place[0] - column, place[1] - row
        a, b = nodes[:, row, column], nodes[:, row, column + 1]
        c, d = nodes[:, row + 1, column], nodes[:, row + 1, column + 1]
        here = (1 - q) * ((1 - p) * a + p * b) + q * ((1 - p) * c + p * d)
        along_x, along_y = (1 - q) * (b - a) + q * (d - c), (1 - p) * (c - a) + p * (d - b)
        # The chord lies below the sphere: what is compared is the direction.
        residual = target * (here * target).sum(0) - here
        xx, yy, xy = (along_x**2).sum(0), (along_y**2).sum(0), (along_x * along_y).sum(0)
        rx, ry = (along_x * residual).sum(0), (along_y * residual).sum(0)
        determinant = xx * yy - xy**2
        with np.errstate(invalid="ignore", divide="ignore"):
            step = np.stack([(yy * rx - xy * ry) / determinant, (xx * ry - xy * rx) / determinant])
        step = np.clip(step, -2.0, 2.0)
        # A cell beyond the edge at most: who wants to go farther is outside.
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
