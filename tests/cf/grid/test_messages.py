"""What is said of a grid, word by word: which coordinate along which dimension, at which index, and what mends it.

The coordinates of these records have other names than their dimensions.
"""

from __future__ import annotations

import warnings

import numpy as np
import pyproj
import pytest
import xarray as xr

from tests.cf.grid.records import STEREOGRAPHIC
from xvar.cf.axes import Axes
from xvar.cf.grid import HorizontalGrid, horizontal_grid
from xvar.errors import Faults, InputError, InputWarning

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


ORDER = "expected a coordinate that only ascends or only descends; fix: ds.sortby({0!r}), or ds.drop_duplicates({0!r})"
UNITS = (
    "expected x and y in a unit of length (attrs['units'] = 'm' or 'km'), or latitude and longitude in degrees; fix: "
    "state the spacing in metres, dx=..., dy=..., or write the units of the coordinates"
)
UNEVEN = (
    "expected even spacing (to {} of a step), or steps that change by less than 30% from one to the next; fix: regrid, "
    "or fill in the missing rows with NaN (ds.reindex)"
)
PLACES = (
    "expected 2-D latitude and longitude of every point, on land too; fix: ds = ds.assign_coords({{n: ds[n]{}."
    "interpolate_na('col', use_coordinate=False, fill_value='extrapolate') for n in ('phi', 'lam')}}), or drop both, "
    "ds.drop_vars(['phi', 'lam']), and state dx=, dy="
)
POSITIONS = "fix: correct the 2-D latitude and longitude, or drop them and state dx=, dy="
STATED = "expected both dx= and dy=, positive metres; fix: dx=1000.0, dy=1000.0"
TORN = (
    "in sorted order, with a gap of half the globe or more between two columns: an area across the meridian where "
    "they begin, sorted; expected columns from west to east; fix: ds = ds.assign_coords({'east': "
)
SWAPPED = "expected latitudes between -90 and 90; fix: latitude and longitude may be swapped: check "
GAP = np.array([0.0, 1, 2, 4, 5, 6])
DISK = dict.fromkeys(("latitude_of_projection_origin", "longitude_of_projection_origin"), 0.0)
DISK |= {"grid_mapping_name": "orthographic", "earth_radius": 6371e3}


@pytest.mark.parametrize(
    ("array", "options", "text"),
    [
        # No metres
        (lines(ROWS, COLUMNS, ("pixels", "1")), {},
         f"variable 'rain': found coordinate 'north' in 'pixels'; coordinate 'east' in '1'; {UNITS}"),
        (lines(ROWS, COLUMNS, ("m", "pixels")), {},
         f"variable 'rain': found coordinate 'north' in 'm'; coordinate 'east' in 'pixels'; {UNITS}"),
        (lines(ROWS, COLUMNS, ("degrees_north", "m")), {},
         f"variable 'rain': found coordinate 'north' in 'degrees_north'; coordinate 'east' in 'm'; {UNITS}"),
        (lines(ROWS, COLUMNS).drop_attrs(), {},
         f"variable 'rain': found coordinate 'north' without units; coordinate 'east' without units; {UNITS}"),
        (lines(ROWS, COLUMNS).drop_vars(["north", "east"]), {},
         f"variable 'rain': found no coordinate on 'row'; no coordinate on 'col'; {UNITS}"),
        (lines(ROWS, COLUMNS).drop_vars("north"), {},
         f"variable 'rain': found no coordinate on 'row'; coordinate 'east' in 'm'; {UNITS}"),
        (lines(ROWS[:1], COLUMNS), {},
         ("variable 'rain', dimension 'row': found 1 point along 'row'; expected two or more: one has no spacing; fix: "
         "give a larger domain")),
        (lines(ROWS, COLUMNS[:1]), {},
         ("variable 'rain', dimension 'col': found 1 point along 'col'; expected two or more: one has no spacing; fix: "
         "give a larger domain")),
        (lines(ROWS, COLUMNS, ("degrees_east", "degrees_north")), {},
         ("variable 'rain': found longitude along the y dimension 'row' and latitude along x; expected "
          "latitude along y, "
         "longitude along x; fix: check the units and standard names of both coordinates")),
        # Stated
        (lines(ROWS, COLUMNS), {"dx": 1.0}, f"found dy=None; {STATED}"),
        (lines(ROWS, COLUMNS), {"dy": 1.0}, f"found dx=None; {STATED}"),
        (lines(ROWS, COLUMNS), {"dx": 1.0, "dy": 0}, f"found dy=0; {STATED}"),
        (lines(ROWS, COLUMNS), {"dx": True, "dy": 1.0}, f"found dx=True; {STATED}"),
        (lines(ROWS, COLUMNS), {"dx": np.inf, "dy": 1}, f"found dx=inf; {STATED}"),
        (lines(ROWS, COLUMNS), {"dx": [1], "dy": 1}, f"found dx=[1]; {STATED}"),
        (lines(ROWS, COLUMNS), {"dx": "wide", "dy": -1.5},
         f"2 faults:\n- found dx='wide'; {STATED}\n- found dy=-1.5; {STATED}"),
        (lines([0.0, 1, 3, 2, 4], COLUMNS), {"dx": 1.0, "dy": 1.0},
         "variable 'north', dimension 'row', index 3: found 2 at index 3 after 3: not monotonic; "
         + ORDER.format("row")),
        # Along a line
        (lines([0.0, 1, 2, 1.5, 4], COLUMNS), {},
         "variable 'north', dimension 'row', index 3: found 1.5 at index 3 after 2: not monotonic; "
         + ORDER.format("row")),
        (lines([4, 3, 3, 2, 1.0], COLUMNS), {},
         "variable 'north', dimension 'row', index 2: found 3 at index 2 after 3: not monotonic; "
         + ORDER.format("row")),
        (lines(ROWS, [0.0, 0, 1, 2, 3]), {},
         "variable 'east', dimension 'col', index 1: found 0 at index 1 after 0: not monotonic; "
         + ORDER.format("col")),
        (lines(ROWS, [0.0, 1, np.inf, np.nan]), {},
         ("variable 'east', dimension 'col', index 2: found value inf at index 2; expected finite coordinates; fix: "
         "ds.dropna('col') on the coordinate, or write its values")),
        (lines(GAP, COLUMNS), {},
         "variable 'north', dimension 'row', index 2: found uneven spacing: neighbouring steps differ by a factor 2 at "
         "index 2, max deviation 0.3333 of a step from even spacing; " + UNEVEN.format("1e-06")),
        (lines(GAP[::-1].astype("f4"), COLUMNS, ("km", "km")), {},
         "variable 'north', dimension 'row', index 3: found uneven spacing: neighbouring steps differ by a factor 2 at "
         "index 3, max deviation 0.3333 of a step from even spacing; " + UNEVEN.format("0.001")),
        (lines(ROWS, [0.0, 2, 4, 4.5, 5, 5.5]), {},
         "variable 'east', dimension 'col', index 2: found uneven spacing: neighbouring steps differ by a factor 4 at "
         "index 2, max deviation 1.636 of a step from even spacing; " + UNEVEN.format("1e-06")),
        # Latitude and longitude
        (degrees(ROWS + 85.5, COLUMNS), {},
         ("variable 'north', dimension 'row': found rows at |lat| = 89.5; expected |lat| <= 89: columns of a "
         "latitude-longitude grid meet at the pole; fix: ds.where(abs(ds['north']) <= 89, drop=True), or a polar "
         "projection")),
        (degrees(-ROWS - 86, COLUMNS), {},
         ("variable 'north', dimension 'row': found rows at |lat| = 90; expected |lat| <= 89: columns of a "
         "latitude-longitude grid meet at the pole; fix: ds.where(abs(ds['north']) <= 89, drop=True), or a polar "
         "projection")),
        (degrees(-ROWS - 88, COLUMNS), {},
         ("variable 'north', dimension 'row', index 4: found latitude -92 at index 4: |lat| > 90; "
         f"{SWAPPED}which coordinate belongs to which dimension")),
        (degrees(ROWS, np.arange(0, 361.0)), {},
         ("variable 'east', dimension 'col': found longitudes over 360 degrees: columns that repeat others; "
          "expected each "
         "longitude once, less than 360 degrees from first to last; fix: ds.isel(col=slice(None, -1))")),
        (degrees(ROWS, [0.0, 1, 2, 358, 359]), {},
         (f"variable 'east', dimension 'col': found longitudes 0 to 359 {TORN}"
         "(ds['east'] + 180) % 360 - 180}).sortby('east')")),
        (degrees(ROWS, [-180.0, -179, 178, 179]), {},
         f"variable 'east', dimension 'col': found longitudes -180 to 179 {TORN}ds['east'] % 360}}).sortby('east')"),
        (degrees([0.0, 1, 1], [0.0, 1, np.nan]), {},
         "2 faults:\n- variable 'north', dimension 'row', index 2: found 1 at index 2 after 1: not monotonic; "
         + ORDER.format("row") + "\n- variable 'east', dimension 'col', index 2: found value nan at index 2; expected "
         "finite coordinates; fix: ds.dropna('col') on the coordinate, or write its values"),
        # In the plane
        (plane(phi=((2, 3), np.nan), lam=((4, 5), np.inf)), {},
         "variable 'phi', index (2, 3): found 2 of 63 points without latitude or longitude: filled where nothing is "
         "known?; " + PLACES.format("")),
        (plane(phi=((2, 3), -95.0)), {},
         "variable 'phi', index (2, 3): found 1 of 63 points at latitude -95, which is none: filled where nothing is "
         "known?; " + PLACES.format(".where(abs(ds['phi']) <= 90)")),
        (plane(phi=(np.s_[:, 7:], 1.5), lam=(np.s_[:, 7:], 2.5)), {},
         "variable 'phi', index (0, 7): found 14 of 63 points at latitude 1.5, longitude 2.5: filled where nothing is "
         "known?; " + PLACES.format(".where(ds['phi'] != 1.5)")),
        (plane(phi=((2, 3), 0.0), lam=((2, 3), 0.0)), {},
         ("variable 'rain', index (2, 3): found a point 1.116e+04 km from its neighbours, where most are "
          "10.41 km apart; "
         f"expected 2-D latitude and longitude that go on smoothly; {POSITIONS}")),
        (exchanged(), {},
         (f"variable 'phi': found latitude -167: |lat| > 90, and no longitude beyond 90; {SWAPPED}the units "
          f"and the names "
         "of both")),
        (plane(**there((1, 3))), {},
         ("variable 'rain', index (0, 3): found neighbouring points at the same latitude and longitude; expected a "
         f"position of its own for every point; {POSITIONS}")),
        (both(), {"mapping": {**STEREOGRAPHIC, "standard_parallel": 90.0}},
         ("variable 'rain': found a grid mapping (crs) whose spacing differs by 6.4% from that of the 2-D latitude and "
         "longitude; expected spacings that agree to 2%; fix: correct the grid mapping or the coordinates, or drop the "
         "one that is wrong")),
        # On a map
        (lines(1e7 * ROWS, 1e7 * COLUMNS, grid_mapping="crs"), {"mapping": DISK},
         ("variable 'rain': found x and y outside the domain of the grid mapping 'crs'; expected "
          "coordinates that belong "
         "to the mapping; fix: check the units of x and y and the attributes of the grid mapping, crop what "
         "lies outside "
         "of the Earth's disk, or drop the grid_mapping attribute")),
    ],
)  # fmt: skip
def test_what_is_refused(array, options, text) -> None:
    for given in (array, array.chunk()):
        faults = Faults()
        assert horizontal_grid(given, AXES, faults, **options) is None
        with pytest.raises(InputError) as caught:
            faults.raise_if_any()
        assert str(caught.value) == text


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
        (lines(1e5 * ROWS, 1e5 * COLUMNS, grid_mapping="crs"), {"mapping": STEREOGRAPHIC}, "projected",
         "from x and y by the map factor of 'crs' (0.933 to 0.9357)"),
        (degrees(ROWS, COLUMNS), {}, "geographic", f"from latitude and longitude {SPHERE}"),
        (degrees(ROWS, 60 * COLUMNS), {}, "geographic",
         f"from latitude and longitude {SPHERE}, columns around the globe"),
        (plane(), {}, "curvilinear", f"from 2-D latitude and longitude, great circles {SPHERE}"),
        (both(), {"mapping": STEREOGRAPHIC}, "projected", f"from 2-D latitude and longitude, great circles {SPHERE}"),
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
    assert str(warning.message) == (
        f"variable 'rain': x and y taken as true metres, not checked against a map projection, since {why}; add the "
        "variable that the attribute grid_mapping names, or drop the attribute"
    )


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
    assert str(faults.first) == (
        "variable 'rain': found no coordinate on 'row'; no coordinate on 'col'; expected x and y in a unit of length "
        "(attrs['units'] = 'm' or 'km'), or latitude and longitude in degrees; "
        f"fix: {line}: these data variables say where the points lie"
    )
    mended = dataset.set_coords(["phi", "lam"])["rain"]
    np.testing.assert_array_equal(read(mended).metric, read(array).metric)
    for without in ("phi", "lam"):
        faults = Faults()
        horizontal_grid(dataset["rain"], AXES, faults, mapping=dataset.drop_vars(without))
        assert "state the spacing in metres" in str(faults.first)
    flat = dataset.assign(phi=dataset["phi"].isel(row=0))
    faults = Faults()
    horizontal_grid(flat["rain"], AXES, faults, mapping=flat)
    assert "state the spacing in metres" in str(faults.first)


def test_positions_that_repeat_rows_and_columns_are_named_by_the_dimensions_of_the_record() -> None:
    for rows, columns, words in (
        (
            [0.0, 1, 1, 2],
            COLUMNS,
            "variable 'row', dimension 'row', index 2: found 1 at index 2 after 1: not monotonic",
        ),
        (ROWS, [0.0, 1, 2, 2], "variable 'col', dimension 'col', index 3: found 2 at index 3 after 2: not monotonic"),
    ):
        phi, lam = np.meshgrid(rows, columns, indexing="ij")
        coords = {"lat": (PLANE, phi), "lon": (PLANE, lam)}
        array = xr.DataArray(np.zeros((2, *phi.shape)), coords, ("t", *PLANE), "rain")
        faults = Faults()
        assert horizontal_grid(array, AXES, faults) is None
        assert str(faults.first).startswith(words)
