"""Latitude and longitude along the axes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cf.grid.records import EARTH, SPHERE, geographic, grid, on, refusal
from tests.cf.test_axes import images
from xvar.cf.grid.geometry import is_mesh


@given(st.floats(-80.0, 80.0), st.floats(0.01, 1.0), st.floats(0.01, 1.0), st.floats(-180.0, 180.0), st.booleans())
def test_spherical_spacing_is_that_of_geodesics(south, dlat, dlon, west, down):
    """Fault 45: exact on the sphere, within 0.5 % of the ellipsoid's mean radius of curvature or so."""
    latitude, longitude = south + dlat * np.arange(5), west + dlon * np.arange(6)
    result = grid(geographic(latitude[:: -1 if down else 1], longitude))
    assert result.kind == "geographic"
    assert result.ascending == (not down, True)
    for geod, tolerance in ((SPHERE, 1e-4), (EARTH, 7e-3)):
        for row in range(5):
            _, _, length = geod.inv(longitude[2], latitude[row], longitude[3], latitude[row])
            assert result.metric[1, row, 2] == pytest.approx(length, rel=tolerance)
        _, _, length = geod.inv(west, latitude[1], west, latitude[2])
        assert result.metric[0, 1, 2] == pytest.approx(length, rel=tolerance)


@pytest.mark.parametrize("latitude", [20.0, 36.0, 48.0, 60.0])
def test_within_half_a_percent_of_the_ellipsoid(latitude):
    result = grid(geographic(latitude + 0.02 * np.arange(-2, 3), 0.02 * np.arange(6)))
    ahead = EARTH.inv(0.02, latitude, 0.04, latitude)[2]
    up = EARTH.inv(0.0, latitude, 0.0, latitude + 0.02)[2]
    assert result.metric[1, 2, 2] == pytest.approx(ahead, rel=5e-3)
    assert result.metric[0, 2, 2] == pytest.approx(up, rel=5e-3)


@given(st.floats(-175.0, 175.0), st.booleans())
def test_numbering_of_longitude_makes_no_difference(west, greenwich):
    """Faults 43 and 44: 0 to 360, -180 to 180, with or without a seam inside."""
    longitude = west + 0.5 * np.arange(40)
    plain = grid(geographic(np.arange(5.0), longitude))
    wrapped = longitude % 360 if greenwich else (longitude + 180) % 360 - 180
    result = grid(geographic(np.arange(5.0), wrapped))
    np.testing.assert_allclose(result.metric, plain.metric, rtol=1e-9)
    assert result.ascending == (True, True)
    assert not result.periodic_x


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_around_the_globe(dtype):
    longitude = np.arange(0, 360, 1.5).astype(dtype)
    assert grid(geographic(np.arange(-60.0, 60.0, 2.0), longitude)).periodic_x
    assert not grid(geographic(np.arange(-60.0, 60.0, 2.0), longitude[:-1])).periodic_x
    for step in (3.59, 3.61):  # the last column comes within half a step of the first, on either side of it
        assert grid(geographic(np.arange(-60.0, 60.0, 2.0), (step * np.arange(100)).astype(dtype))).periodic_x


def test_a_column_that_repeats_the_first():
    assert "repeat" in refusal(geographic(np.arange(5.0), np.arange(0, 361, 1.0)))


def test_near_the_pole():
    """Fault 45."""
    text = refusal(geographic(np.arange(80.0, 90.5), np.arange(6.0)))
    assert "|lat| = 90" in text
    assert "89" in text


def test_latitude_beyond_the_pole():
    """Fault 51."""
    text = refusal(geographic(np.arange(100.0, 105.0), np.arange(6.0)))
    assert "|lat| > 90" in text
    assert "swapped" in text


def test_rotated_pole_is_relative_to_the_grid():
    y = (np.arange(5.0), {"units": "degrees", "standard_name": "grid_latitude"})
    x = (np.arange(6.0), {"units": "degrees", "standard_name": "grid_longitude"})
    result = grid(on(y[0], x[0], y[1], x[1]))
    assert result.kind == "curvilinear"
    assert result.spacing[0] == pytest.approx(111194.9, rel=1e-6)


def test_two_dimensional_coordinates_that_only_repeat_rows_and_columns():
    latitude, longitude = np.meshgrid(np.arange(50, 45, -1.0), np.arange(6.0), indexing="ij")
    array = images(shape=(2, 5, 6)).assign_coords(lat=(("y", "x"), latitude), lon=(("y", "x"), longitude))
    result = grid(array)
    assert (result.kind, result.ascending) == ("geographic", (False, True))
    np.testing.assert_allclose(result.metric[1, :, 0], 111194.9 * np.cos(np.deg2rad(np.arange(46, 51))), rtol=1e-6)


@pytest.mark.parametrize(("first", "line"), [(359.0, "(ds['x'] + 180) % 360 - 180"), (179.0, "ds['x'] % 360")])
@pytest.mark.parametrize("down", [False, True])
def test_columns_that_were_sorted_across_the_seam(first, line, down):
    """Fault 44: the east of the area stands before its west, and sorting again would change nothing."""
    longitude = first + 0.25 * np.arange(9)
    torn = np.sort(longitude % 360 if first > 180 else (longitude + 180) % 360 - 180)[:: -1 if down else 1]
    text = refusal(geographic(np.arange(5.0), torn))
    assert f"longitudes {torn.min():g} to {torn.max():g}" in text
    assert f"ds = ds.assign_coords({{'x': {line}}}).sortby('x')" in text
    mended = np.sort((torn + 180) % 360 - 180 if first > 180 else torn % 360)
    assert grid(geographic(np.arange(5.0), mended)).metric[1, 0, 0] == pytest.approx(0.25 * 111194.9, rel=1e-6)


def test_two_columns_half_the_globe_apart_are_two_columns():
    assert grid(geographic(np.arange(5.0), np.array([0.0, 179.0]))).kind == "geographic"


def test_a_longitude_that_is_missing():
    assert "index 2: found value nan" in refusal(geographic(np.arange(5.0), np.array([0.0, 1.0, np.nan, 3.0])))


DEGREE = np.deg2rad(1.0) * 6371e3


def test_rows_and_columns_of_every_point() -> None:
    """On a grid that is stretched both ways, in the order of ascending coordinates."""
    latitude, longitude = np.array([13.6, 12.2, 11.0, 10.0]), np.array([0.0, 2.0, 4.4])
    result = grid(geographic(latitude, longitude))
    rows, columns = np.array([1, 1.1, 1.3, 1.4]), np.array([2, 2.2, 2.4])
    np.testing.assert_allclose(result.metric[0], DEGREE * np.outer(rows, np.ones(3)), rtol=1e-12)
    cosines = np.cos(np.deg2rad(latitude[::-1]))
    np.testing.assert_allclose(result.metric[1], DEGREE * np.outer(cosines, columns), rtol=1e-12)
    assert result.spacing == pytest.approx((result.metric[0].mean(), result.metric[1].mean()), rel=1e-12)
    assert (result.shape, result.ascending, result.periodic_x) == ((4, 3), (False, True), False)
    assert grid(geographic(latitude[::-1], longitude[::-1])).ascending == (True, False)


@pytest.mark.parametrize(("highest", "fine"), [(89.0, True), (89.01, False)])
@pytest.mark.parametrize("sign", [1, -1])
def test_rows_up_to_the_columns_that_meet(highest, fine, sign) -> None:
    array = geographic(sign * (highest - np.arange(4.0)), np.arange(6.0))
    if fine:
        assert grid(array).kind == "geographic"
    else:
        assert f"rows at |lat| = {highest:g}" in refusal(array)


def test_a_row_at_the_pole_is_no_row_beyond_it() -> None:
    for highest, words in ((90 + 0.9e-6, "rows at |lat| = 90"), (90 + 1e-4, "|lat| > 90")):
        assert words in refusal(geographic(highest - np.arange(4.0), np.arange(6.0)))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_seam_inside_keeps_the_precision_of_the_file(dtype) -> None:
    plain = (350 + 0.3 * np.arange(50)).astype(dtype)
    wrapped = np.where(plain >= 360, plain - np.dtype(dtype).type(360), plain)
    for longitude in (wrapped, wrapped[::-1]):
        result = grid(geographic(np.arange(5.0), longitude))
        np.testing.assert_allclose(result.metric[1, 0], 0.3 * DEGREE, rtol=1e-5)
        assert result.ascending == (True, longitude is wrapped)


def test_gaps_of_half_the_globe() -> None:
    for gap, torn in ((180.0, False), (180.5, True)):
        columns = np.array([0.0, 60, 120, 120 + gap])
        assert ("across the meridian" in refusal(geographic(np.arange(5.0), columns))) is torn
    assert "uneven spacing" in refusal(geographic(np.arange(5.0), np.array([0.0, 60, 120, 300])))
    assert grid(geographic(np.arange(5.0), np.array([0.0, 120.0, 240.0]))).periodic_x


@pytest.mark.parametrize(
    ("count", "step", "periodic"),
    [(360, 1.0, True), (359, 1.0, False), (100, 3.6, True), (100, 3.585, True), (100, 3.58, False), (100, 3.617, True)],
)
def test_once_around_to_half_a_column(count, step, periodic) -> None:
    result = grid(geographic(np.arange(5.0), step * np.arange(count)))
    assert result.periodic_x is periodic
    assert result.kind == "geographic"


def test_columns_that_go_on_beyond_the_globe() -> None:
    for step, refused in ((3.617, False), (3.62, True)):  # 1.7 and 2 degrees more: less and more than half a column
        array = geographic(np.arange(5.0), step * np.arange(100))
        assert grid(array).periodic_x if not refused else "repeat others" in refusal(array)
    # Stretched columns are never those of the whole globe.
    assert not grid(geographic(np.arange(5.0), np.cumsum(1 + 0.001 * np.arange(306)))).periodic_x


def test_two_dimensional_coordinates_repeat_rows_and_columns_to_a_metre() -> None:
    latitude, longitude = np.meshgrid(np.arange(45, 50.0), 175 + 2.0 * np.arange(6), indexing="ij")
    wrapped = np.where(longitude > 180, longitude - 360, longitude)
    assert is_mesh(latitude, longitude)
    assert is_mesh(latitude, wrapped)
    turns = longitude + 360.0 * (np.arange(5) % 2)[:, None]
    assert is_mesh(latitude, turns)
    for by, mesh in ((0.9e-5, True), (1.1e-5, False)):
        for row, column in ((4, 5), (2, 3)):
            for sign in (1, -1):
                moved = np.zeros((5, 6))
                moved[row, column] = sign * by
                assert is_mesh(latitude + moved, longitude) is mesh
                assert is_mesh(latitude, longitude + moved) is mesh
    result = grid(images(shape=(2, 5, 6)).assign_coords(lat=(("y", "x"), latitude), lon=(("y", "x"), wrapped)))
    assert result.kind == "geographic"
    np.testing.assert_allclose(result.metric[0], DEGREE, rtol=1e-12)
