"""From coordinates to rows and columns of a grid, and back."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest

from tests.cf.grid.records import STEREOGRAPHIC
from xvar.cf.positions import along_line, on_curvilinear

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
