"""From coordinates to rows and columns of a grid, and back."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest

from tests.cf.grid.records import STEREOGRAPHIC
from xvar.cf.geodesy import along_line, on_curvilinear

SIDE, STEP = 12, 1e4
BACK = pyproj.Transformer.from_crs(
    pyproj.CRS.from_cf(STEREOGRAPHIC), pyproj.CRS.from_cf(STEREOGRAPHIC).geodetic_crs, always_xy=True
)


def positions(rows, columns, origin: float):
    """Latitude and longitude of places on the map, in steps from an origin."""
    longitude, latitude = BACK.transform(origin + STEP * np.asarray(columns), origin + STEP * np.asarray(rows))
    return latitude, longitude


@pytest.mark.parametrize("origin", [-5.5 * STEP, 2e6])  # around the pole, and far from it
@pytest.mark.parametrize("turn", [0.0, 360.0])
def test_places_on_a_map_are_found_where_they_are(origin, turn) -> None:
    nodes = positions(*np.mgrid[:SIDE, :SIDE].astype(float), origin)
    rows, columns = np.random.default_rng(0).uniform(0, SIDE - 1, (2, 50))
    north, east = positions(rows, columns, origin)
    found = on_curvilinear(*nodes, north, east + turn)
    # Between the points the grid is bilinear, the map a little curved.
    np.testing.assert_allclose(found, [columns, rows], atol=2e-3)


def test_grid_points_lie_on_themselves() -> None:
    nodes = positions(*np.mgrid[:SIDE, :SIDE].astype(float), 2e6)
    found = on_curvilinear(*nodes, nodes[0].ravel(), nodes[1].ravel())
    rows, columns = np.mgrid[:SIDE, :SIDE]
    np.testing.assert_allclose(found, [columns.ravel(), rows.ravel()], atol=1e-6)


def test_what_is_outside_or_nowhere_has_no_place() -> None:
    nodes = positions(*np.mgrid[:SIDE, :SIDE].astype(float), 2e6)
    north, east = positions([-0.3, 3.0, SIDE - 0.8, 3.0, 3.0], [3.0, -0.3, 3.0, SIDE - 0.8, 3.0], 2e6)
    north[4] = np.nan
    assert np.isnan(on_curvilinear(*nodes, north, east)).all()


def test_places_on_a_line() -> None:
    found = along_line(np.array([0.0, 1.0, 3.0]), np.array([-0.1, 0.0, 0.25, 2.0, 3.0, 3.1, np.nan]))
    np.testing.assert_array_equal(found, [np.nan, 0, 0.25, 1.5, 2, np.nan, np.nan])


def bilinear(row: float, column: float, north: np.ndarray, east: np.ndarray) -> tuple[float, float]:
    """The place between four points, by the bilinear mean of their unit vectors."""
    phi, lam = np.deg2rad(north), np.deg2rad(east)
    nodes = np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)])
    i, j = min(int(row), north.shape[0] - 2), min(int(column), north.shape[1] - 2)
    q, p = row - i, column - j
    upper, lower = ((1 - p) * nodes[:, k, j] + p * nodes[:, k, j + 1] for k in (i, i + 1))
    x, y, z = (1 - q) * upper + q * lower
    return float(np.rad2deg(np.arctan2(z, np.hypot(x, y)))), float(np.rad2deg(np.arctan2(y, x)))


@pytest.mark.parametrize("shape", [(2, 2), (2, 5), (6, 2), (5, 7)])
def test_between_the_points_the_grid_is_bilinear(shape) -> None:
    """To the last digits, on a grid that is turned and sheared, in either order of its points."""
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(float)
    north = 50 + 0.3 * rows + 0.1 * columns + 0.01 * rows * columns
    east = 179.5 + 0.5 * columns - 0.2 * rows
    generator = np.random.default_rng(3)
    places = generator.uniform(0, 1, (2, 20)) * np.array([[shape[0] - 1.0], [shape[1] - 1.0]])
    points = np.array([bilinear(row, column, north, east) for row, column in places.T])
    found = on_curvilinear(north, east, points[:, 0], points[:, 1])
    np.testing.assert_allclose(found, places[::-1], atol=1e-9)
    turned = on_curvilinear(north[::-1], east[::-1], points[:, 0], points[:, 1])
    np.testing.assert_allclose(turned, [places[1], shape[0] - 1 - places[0]], atol=1e-9)
    swapped = on_curvilinear(north.T, east.T, points[:, 0], points[:, 1])
    np.testing.assert_allclose(swapped, places, atol=1e-9)


def test_the_edge_belongs_to_the_grid_and_rounding_too() -> None:
    rows, columns = np.mgrid[:4, :5].astype(float)
    north, east = 0.01 * rows, 0.01 * columns
    corners = np.array([[0.0, 0.0], [0.03, 0.0], [0.0, 0.04], [0.03, 0.04]])
    for slack, inside in ((0.0, True), (5e-9, True), (5e-8, False)):  # half a millionth of a cell, and five
        outward = corners + slack * np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]])
        found = on_curvilinear(north, east, outward[:, 0], outward[:, 1])
        if inside:
            np.testing.assert_allclose(found, [[0, 0, 4, 4], [0, 3, 0, 3]], atol=1e-9)
            assert (found >= 0).all()
            assert (found <= [[4], [3]]).all()
        else:
            assert np.isnan(found).all()


def test_many_points_at_once_are_the_same_as_each() -> None:
    rows, columns = np.mgrid[:4, :5].astype(float)
    north, east = 10 + 0.1 * rows, 0.1 * columns
    generator = np.random.default_rng(4)
    points = 10 + 0.3 * generator.random(7), 0.4 * generator.random(7)
    points[0][2], points[1][5] = np.nan, np.nan
    together = on_curvilinear(north, east, *points)
    np.testing.assert_array_equal(np.isnan(together), np.broadcast_to(np.arange(7) % 3 == 2, (2, 7)))
    one = [on_curvilinear(north, east, points[0][k : k + 1], points[1][k : k + 1])[:, 0] for k in range(7)]
    np.testing.assert_allclose(np.stack(one, axis=1), together, atol=1e-9)
    nowhere = np.full(3, np.nan)
    assert np.isnan(on_curvilinear(north, east, nowhere, nowhere)).all()
    assert on_curvilinear(north, east, nowhere[:0], nowhere[:0]).shape == (2, 0)
