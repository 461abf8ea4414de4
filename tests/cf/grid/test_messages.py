"""Faults of a grid: their codes, the coordinate, the dimension and the index. Descriptions of a grid.

The coordinates of these records have other names than their dimensions.
"""

from __future__ import annotations

import warnings

import numpy as np
import pyproj
import pytest
import xarray as xr

from tests.cf.grid.records import STEREOGRAPHIC, held
from tests.cf.places import places
from xvar.cf.axes import Axes
from xvar.cf.grid import HorizontalGrid, horizontal_grid
from xvar.errors import Faults, InputWarning

AXES = Axes("t", "row", "col")
PLANE = ("row", "col")
ROWS, COLUMNS = np.arange(5.0), np.arange(6.0)
MAP = pyproj.CRS.from_cf(STEREOGRAPHIC)


def lines(north: object, east: object, units: tuple[str, str] = ("m", "m"), **attrs: object) -> xr.DataArray:
    """Rain on coordinates `north` along row and `east` along col."""
    y, x = np.asarray(north), np.asarray(east)
    coords = {"north": ("row", y, {"units": units[0]}), "east": ("col", x, {"units": units[1]})}
    return xr.DataArray(np.zeros((2, y.size, x.size)), coords, ("t", *PLANE), "rain", attrs)


def degrees(north: object, east: object) -> xr.DataArray:
    return lines(north, east, ("degrees_north", "degrees_east"))


def plane(rows: int = 7, columns: int = 9, corner: tuple[float, float] = (2e6, 0.0), **changed: object) -> xr.DataArray:
    """Rain on 2-D positions `phi` and `lam`, some of which are changed: name=(index, value)."""
    y, x = (start + 1e4 * np.arange(size) for start, size in zip(corner, (rows, columns), strict=True))
    back = pyproj.Transformer.from_crs(MAP, MAP.geodetic_crs, always_xy=True)
    lam, phi = back.transform(*np.meshgrid(x, y))
    values = {"phi": phi, "lam": lam}
    for name, (index, value) in changed.items():
        values[name][index] = value
    units = {"phi": "degrees_north", "lam": "degrees_east"}
    coords = {name: (PLANE, values[name], {"units": units[name]}) for name in values}
    return xr.DataArray(np.zeros((2, rows, columns)), coords, ("t", *PLANE), "rain")


def exchanged() -> xr.DataArray:
    array = plane(corner=(2e6, 2e6))
    phi, lam = (array[name].values for name in ("phi", "lam"))
    return array.assign_coords(phi=(PLANE, lam, array["phi"].attrs), lam=(PLANE, phi, array["lam"].attrs))


def both() -> xr.DataArray:
    """2-D positions, and x and y of another map."""
    array = plane().assign_attrs(grid_mapping="crs")
    rows, columns = (("row", 2e6 + 1e4 * np.arange(7), {"units": "m"}), ("col", 1e4 * np.arange(9), {"units": "m"}))
    return array.assign_coords(north=rows, east=columns)


def there(index: tuple[int, int]) -> dict[str, object]:
    """The place of another point for the first of its column."""
    array = plane()
    return {name: ((0, index[1]), float(array[name][index])) for name in ("phi", "lam")}


GAP = np.array([0.0, 1, 2, 4, 5, 6])
DISK = dict.fromkeys(("latitude_of_projection_origin", "longitude_of_projection_origin"), 0.0)
DISK |= {"grid_mapping_name": "orthographic", "earth_radius": 6371e3}


@pytest.mark.parametrize(
    ("array", "options", "expected"),
    [
        # No metres
        (lines(ROWS, COLUMNS, ("pixels", "1")), {},
         [('spacing-unknown', 'rain')]),
        (lines(ROWS, COLUMNS, ("m", "pixels")), {},
         [('spacing-unknown', 'rain')]),
        (lines(ROWS, COLUMNS, ("degrees_north", "m")), {},
         [('spacing-unknown', 'rain')]),
        (lines(ROWS, COLUMNS).drop_attrs(), {},
         [('spacing-unknown', 'rain')]),
        (lines(ROWS, COLUMNS).drop_vars(["north", "east"]), {},
         [('spacing-unknown', 'rain')]),
        (lines(ROWS, COLUMNS).drop_vars("north"), {},
         [('spacing-unknown', 'rain')]),
        (lines(ROWS[:1], COLUMNS), {},
         [('grid-too-small', 'rain', 'row')]),
        (lines(ROWS, COLUMNS[:1]), {},
         [('grid-too-small', 'rain', 'col')]),
        (lines(ROWS, COLUMNS, ("degrees_east", "degrees_north")), {},
         [('axes-swapped', 'rain')]),
        # Stated
        (lines(ROWS, COLUMNS), {"dx": 1.0}, [('spacing-invalid',)]),
        (lines(ROWS, COLUMNS), {"dy": 1.0}, [('spacing-invalid',)]),
        (lines(ROWS, COLUMNS), {"dx": 1.0, "dy": 0}, [('spacing-invalid',)]),
        (lines(ROWS, COLUMNS), {"dx": True, "dy": 1.0}, [('spacing-invalid',)]),
        (lines(ROWS, COLUMNS), {"dx": np.inf, "dy": 1}, [('spacing-invalid',)]),
        (lines(ROWS, COLUMNS), {"dx": [1], "dy": 1}, [('spacing-invalid',)]),
        (lines(ROWS, COLUMNS), {"dx": "wide", "dy": -1.5},
         [('spacing-invalid',), ('spacing-invalid',)]),
        (lines([0.0, 1, 3, 2, 4], COLUMNS), {"dx": 1.0, "dy": 1.0},
         [('coordinate-not-monotonic', 'north', 'row', 3)]),
        # Along a line
        (lines([0.0, 1, 2, 1.5, 4], COLUMNS), {},
         [('coordinate-not-monotonic', 'north', 'row', 3)]),
        (lines([4, 3, 3, 2, 1.0], COLUMNS), {},
         [('coordinate-not-monotonic', 'north', 'row', 2)]),
        (lines(ROWS, [0.0, 0, 1, 2, 3]), {},
         [('coordinate-not-monotonic', 'east', 'col', 1)]),
        (lines(ROWS, [0.0, 1, np.inf, np.nan]), {},
         [('coordinate-missing-value', 'east', 'col', 2)]),
        (lines(GAP, COLUMNS), {},
         [('coordinate-uneven', 'north', 'row', 2)]),
        (lines(GAP[::-1].astype("f4"), COLUMNS, ("km", "km")), {},
         [('coordinate-uneven', 'north', 'row', 3)]),
        (lines(ROWS, [0.0, 2, 4, 4.5, 5, 5.5]), {},
         [('coordinate-uneven', 'east', 'col', 2)]),
        # Latitude and longitude
        (degrees(ROWS + 85.5, COLUMNS), {},
         [('pole', 'north', 'row')]),
        (degrees(-ROWS - 86, COLUMNS), {},
         [('pole', 'north', 'row')]),
        (degrees(-ROWS - 88, COLUMNS), {},
         [('latitude-out-of-range', 'north', 'row', 4)]),
        (degrees(ROWS, np.arange(0, 361.0)), {},
         [('longitude-repeated', 'east', 'col')]),
        (degrees(ROWS, [0.0, 1, 2, 358, 359]), {},
         [('longitude-wrapped', 'east', 'col')]),
        (degrees(ROWS, [-180.0, -179, 178, 179]), {},
         [('longitude-wrapped', 'east', 'col')]),
        (degrees([0.0, 1, 1], [0.0, 1, np.nan]), {},
         [('coordinate-not-monotonic', 'north', 'row', 2), ('coordinate-missing-value', 'east', 'col', 2)]),
        # In the plane
        (plane(phi=((2, 3), np.nan), lam=((4, 5), np.inf)), {},
         [('position-invalid', 'phi', None, (2, 3))]),
        (plane(phi=((2, 3), -95.0)), {},
         [('position-invalid', 'phi', None, (2, 3))]),
        (plane(phi=(np.s_[:, 7:], 1.5), lam=(np.s_[:, 7:], 2.5)), {},
         [('position-invalid', 'phi', None, (0, 7))]),
        (plane(phi=((2, 3), 0.0), lam=((2, 3), 0.0)), {},
         [('position-outlier', 'rain', None, (2, 3))]),
        (exchanged(), {},
         [('latitude-out-of-range', 'phi')]),
        (plane(**there((1, 3))), {},
         [('position-repeated', 'rain', None, (0, 3))]),
        (both(), {"mapping": held({**STEREOGRAPHIC, "standard_parallel": 90.0})},
         [('mapping-inconsistent', 'rain')]),
        # On a map
        (lines(1e7 * ROWS, 1e7 * COLUMNS, grid_mapping="crs"), {"mapping": held(DISK)},
         [('mapping-domain', 'rain')]),
    ],
)  # fmt: skip
def test_faults_of_a_grid(array, options, expected) -> None:
    for given in (array, array.chunk()):
        faults = Faults()
        assert horizontal_grid(given, AXES, faults, **options) is None
        assert places(faults) == expected


def read(array: xr.DataArray, **options: object) -> HorizontalGrid:
    faults = Faults()
    found = horizontal_grid(array, AXES, faults, **options)
    faults.raise_if_any()
    assert found is not None
    return found


SPHERE = "on a sphere of 6371 km"
AS_THEY_ARE = "from x and y as they are: not checked against a map projection, since "


@pytest.mark.parametrize(
    ("array", "options", "kind", "description"),
    [
        (lines(ROWS, COLUMNS), {}, "projected", f"{AS_THEY_ARE}there is no grid mapping"),
        (lines(1e5 * ROWS, 1e5 * COLUMNS, grid_mapping="crs"), {"mapping": held(STEREOGRAPHIC)}, "projected",
         "from x and y by the map factor of 'crs' (0.933 to 0.9357)"),
        (degrees(ROWS, COLUMNS), {}, "geographic", f"from latitude and longitude {SPHERE}"),
        (degrees(ROWS, 60 * COLUMNS), {}, "geographic",
         f"from latitude and longitude {SPHERE}, columns around the globe"),
        (plane(), {}, "curvilinear", f"from 2-D latitude and longitude, great circles {SPHERE}"),
        (both(), {"mapping": held(STEREOGRAPHIC)}, "projected",
         f"from 2-D latitude and longitude, great circles {SPHERE}"),
        (plane(), {"dx": 1, "dy": 2.5}, "index", "dx = 1 m, dy = 2.5 m as stated in the call"),
    ],
)  # fmt: skip
def test_what_is_told_of_a_grid(array, options, kind, description) -> None:
    found = read(array, **options)
    assert (found.kind, found.description) == (kind, description)
    assert found.shape == array.shape[1:]
    assert found.periodic_x is ("around" in description)


def test_a_mapping_that_cannot_be_read_is_warned_of() -> None:
    array = lines(1e3 * ROWS, 1e3 * COLUMNS, grid_mapping="crs")
    why = "the grid mapping 'crs' is missing or unreadable"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert read(array).description == AS_THEY_ARE + why
    (warning,) = caught
    assert warning.category is InputWarning


def test_a_rotated_pole_is_told() -> None:
    array = lines(ROWS, COLUMNS, ("degrees", "degrees"))
    for name, standard in (("north", "grid_latitude"), ("east", "grid_longitude")):
        array[name].attrs["standard_name"] = standard
    found = read(array)
    assert (found.kind, found.description) == ("curvilinear", f"from rotated latitude and longitude {SPHERE}")


def test_data_variables_that_hold_the_positions_are_named() -> None:
    array = plane()
    bare = array.drop_vars(["phi", "lam"])
    dataset = bare.to_dataset().assign({name: array[name].reset_coords(drop=True) for name in ("lam", "phi")})
    faults = Faults()
    assert horizontal_grid(dataset["rain"], AXES, faults, mapping=dataset) is None
    line = "ds = ds.set_coords(['phi', 'lam'])"
    assert places(faults) == [("spacing-unknown", "rain")]
    assert line in faults.first.fix
    mended = dataset.set_coords(["phi", "lam"])["rain"]
    np.testing.assert_array_equal(read(mended).metric, read(array).metric)
    for without in ("phi", "lam"):
        faults = Faults()
        horizontal_grid(dataset["rain"], AXES, faults, mapping=dataset.drop_vars(without))
        assert "set_coords" not in faults.first.fix
    flat = dataset.assign(phi=dataset["phi"].isel(row=0))
    faults = Faults()
    horizontal_grid(flat["rain"], AXES, faults, mapping=flat)
    assert "set_coords" not in faults.first.fix


def test_positions_that_repeat_rows_and_columns_are_named_by_the_dimensions_of_the_record() -> None:
    for rows, columns, place in (
        ([0.0, 1, 1, 2], COLUMNS, ("row", "row", 2)),
        (ROWS, [0.0, 1, 2, 2], ("col", "col", 3)),
    ):
        phi, lam = np.meshgrid(rows, columns, indexing="ij")
        coords = {"lat": (PLANE, phi), "lon": (PLANE, lam)}
        array = xr.DataArray(np.zeros((2, *phi.shape)), coords, ("t", *PLANE), "rain")
        faults = Faults()
        assert horizontal_grid(array, AXES, faults) is None
        assert places(faults)[0] == ("coordinate-not-monotonic", *place)
