"""Motion towards east and north: known flows on rotated grids."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from tests.cf.strict import strict_cf
from xvar.cf.axes import Axes
from xvar.cf.geodesy import directions_of_positions
from xvar.cf.grid import axis_directions, horizontal_grid
from xvar.cli.application import application
from xvar.errors import AnalysisWarning, Faults, InputError
from xvar.minimize import LBFGS

pytestmark = pytest.mark.filterwarnings(f"ignore::{AnalysisWarning.__module__}.{AnalysisWarning.__name__}")

RADIUS, MERIDIAN = 6371e3, 20.0
POLAR = {
    "grid_mapping_name": "polar_stereographic",
    "latitude_of_projection_origin": 90.0,
    "straight_vertical_longitude_from_pole": MERIDIAN,
    "standard_parallel": 90.0,
    "earth_radius": RADIUS,
}
SIZE = 20


def positions(y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return latitude and longitude of points of the polar stereographic map of a sphere."""
    grid_x, grid_y = np.meshgrid(x, y)
    radius = np.hypot(grid_x, grid_y)
    return 90 - np.rad2deg(2 * np.arctan(radius / (2 * RADIUS))), MERIDIAN + np.rad2deg(np.arctan2(grid_x, -grid_y))


def record(*, mapping: bool, plane: bool, down: bool = False, left: bool = False) -> xr.Dataset:
    """Return four images of a moving blob on a polar stereographic grid."""
    y, x = 2e4 * np.arange(SIZE) - 1.5e6, 2e4 * np.arange(SIZE) + 4e5
    y, x = (y[::-1] if down else y), (x[::-1] if left else x)
    grid_x, grid_y = np.meshgrid(x, y)
    images = [
        np.exp(-(((grid_x - x.mean() - 2e4 * k) / 6e4) ** 2) - ((grid_y - y.mean() - 1e4 * k) / 6e4) ** 2)
        for k in range(4)
    ]
    attrs = {"standard_name": "sea_surface_temperature", "units": "degree_Celsius"}
    metres = {"units": "m", "standard_name": "projection_{}_coordinate"}
    ds = xr.Dataset(
        {"sst": (("time", "y", "x"), np.array(images, dtype="float32"), attrs)},
        {
            "time": np.datetime64("2020-01-01", "ns") + np.arange(4) * np.timedelta64(1, "D").astype("m8[ns]"),
            **{
                name: (name, values, {key: text.format(name) for key, text in metres.items()})
                for name, values in (("y", y), ("x", x))
            },
        },
    )
    if mapping:
        ds["map"] = ((), 0, POLAR)
        ds["sst"].attrs["grid_mapping"] = "map"
    if plane:
        latitude, longitude = positions(y, x)
        ds = ds.assign_coords(
            lat=(("y", "x"), latitude, {"units": "degrees_north", "standard_name": "latitude"}),
            lon=(("y", "x"), longitude, {"units": "degrees_east", "standard_name": "longitude"}),
        )
    return ds


def turn(ds: xr.Dataset) -> np.ndarray:
    """Return the angle of each meridian from the vertical one of the map."""
    return np.deg2rad(positions(ds["y"].values, ds["x"].values)[1] - MERIDIAN)


def directions(ds: xr.Dataset) -> np.ndarray:
    axes, faults = Axes("time", "y", "x"), Faults()
    grid = horizontal_grid(ds["sst"], axes, faults, mapping=ds)
    faults.raise_if_any()
    found = axis_directions(ds["sst"], axes, grid, faults, mapping=ds)
    faults.raise_if_any()
    return found


@functools.lru_cache
def analysis(*, mapping: bool = True, plane: bool = False) -> xr.Dataset:
    return record(mapping=mapping, plane=plane).var4d.assimilate(constraint="weak", minimizer=LBFGS(max_evaluations=3))


@pytest.mark.parametrize(("down", "left"), [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize(("mapping", "tolerance"), [(True, 1e-6), (False, 1e-3)])
def test_directions_equal_those_of_the_map(mapping: bool, tolerance: float, down: bool, left: bool) -> None:
    """Exact for the polar stereographic map, for every order of the coordinates."""
    ds = record(mapping=mapping, plane=not mapping, down=down, left=left)
    angle = turn(ds)
    cosine, sine = np.cos(angle), np.sin(angle)
    expected = np.array([[cosine, -sine], [sine, cosine]])  # x and y, each towards east and north
    assert np.abs(angle).max() > 0.2
    np.testing.assert_allclose(directions(ds), expected, atol=tolerance)


def test_directions_of_positions_are_of_second_order() -> None:
    errors = []
    for count in (11, 21, 41):
        y, x = np.linspace(-2e6, -1e6, count), np.linspace(3e5, 1.3e6, count)
        latitude, longitude = positions(y, x)
        exact = np.deg2rad(longitude - MERIDIAN)
        errors.append(np.abs(directions_of_positions(latitude, longitude)[0, 0] - np.cos(exact)).max())
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (orders > 1.7).all(), orders


def test_axes_that_are_not_orthogonal() -> None:
    """Unit vectors along x and y, added."""
    j, i = np.mgrid[:9, :9].astype(float)
    latitude, longitude = 1e-3 * j, 1e-3 * (i + j)  # at the equator, y runs to the north-east
    x, y = directions_of_positions(latitude, longitude)
    np.testing.assert_allclose(x[0], 1, atol=1e-6)
    np.testing.assert_allclose(y[0], math.sqrt(0.5), atol=1e-4)
    np.testing.assert_allclose(y[1], math.sqrt(0.5), atol=1e-4)


@pytest.mark.parametrize(("mapping", "plane"), [(True, False), (False, True), (True, True)])
def test_an_eastward_flow_on_a_rotated_grid(mapping: bool, plane: bool) -> None:
    """0.3 m/s to the east and 0.1 to the north, given along the axes of a grid that is turned by 15 to 30 degrees."""
    found = analysis(mapping=mapping, plane=plane).copy()
    angle = turn(found)
    along = {"u": 0.3 * np.cos(angle) - 0.1 * np.sin(angle), "v": 0.3 * np.sin(angle) + 0.1 * np.cos(angle)}
    for name, values in along.items():
        found[name] = found[name].copy(data=np.broadcast_to(values.astype("float32"), found[name].shape))
    result = found.var4d.to_geographic()
    np.testing.assert_allclose(result["eastward"], 0.3, atol=1e-3)
    np.testing.assert_allclose(result["northward"], 0.1, atol=1e-3)
    assert result["eastward"].dtype == found["u"].dtype
    for name in ("u", "v", "sst"):
        xr.testing.assert_identical(result[name], found[name])
    # eastward and northward are verified against an eastward truth
    truth = xr.Dataset(
        {
            name: (("y", "x"), np.full((SIZE, SIZE), value), {"standard_name": standard, "units": "m s-1"})
            for name, value, standard in (
                ("uo", 0.3, "surface_eastward_sea_water_velocity"),
                ("vo", 0.1, "surface_northward_sea_water_velocity"),
            )
        },
        {name: found[name] for name in ("y", "x")},
    )
    assert float(result.var4d.verify(truth)["end_point_error"].max()) < 2e-3
    with pytest.raises(InputError):  # u and v are not eastward and northward
        found.var4d.verify(truth)


def test_names_and_strict_cf(tmp_path) -> None:
    result = analysis().var4d.to_geographic()
    assert result["eastward"].attrs["standard_name"] == "surface_eastward_sea_water_velocity"
    assert result["northward"].attrs["standard_name"] == "surface_northward_sea_water_velocity"
    assert result["eastward"].attrs["grid_mapping"] == result["u"].attrs["grid_mapping"]
    assert result["eastward_forcing"].attrs["units"] == "m s-2"
    length = np.hypot(result["u_forcing"], result["v_forcing"])
    np.testing.assert_allclose(
        np.hypot(result["eastward_forcing"], result["northward_forcing"]), length, rtol=1e-3, atol=1e-12
    )
    result.to_netcdf(tmp_path / "geographic.nc")
    status, words = strict_cf(tmp_path / "geographic.nc")
    assert status == 0, words
    # a forecast starts from it
    xr.testing.assert_equal(result.var4d.forecast("1D")["sst"], analysis().var4d.forecast("1D")["sst"])


def test_on_latitude_and_longitude_nothing_is_rotated() -> None:
    ds = record(mapping=False, plane=False)
    ds = ds.assign_coords(
        y=("y", np.linspace(40, 36, SIZE), {"units": "degrees_north", "standard_name": "latitude"}),
        x=("x", np.linspace(-5, -1, SIZE), {"units": "degrees_east", "standard_name": "longitude"}),
    )
    result = ds.var4d.assimilate(minimizer=LBFGS(max_evaluations=3)).var4d.to_geographic()
    np.testing.assert_array_equal(result["eastward"], result["u"])
    np.testing.assert_array_equal(result["northward"], result["v"])
    assert result["eastward"].attrs["standard_name"] == result["u"].attrs["standard_name"]


def test_a_grid_without_georeference_is_refused() -> None:
    with pytest.raises(InputError):
        analysis(mapping=False).var4d.to_geographic()


def test_echoes_of_rain_have_no_standard_name() -> None:
    ds = record(mapping=True, plane=False).rename(sst="rain")
    ds["rain"].attrs = {"units": "mm h-1", "standard_name": "rainfall_rate", "grid_mapping": "map"}
    result = ds.var4d.assimilate(minimizer=LBFGS(max_evaluations=3)).var4d.to_geographic()
    assert "standard_name" not in result["eastward"].attrs
    assert result["eastward"].attrs["long_name"] == "motion of rain, eastward"
    assert {"eastward_transient", "northward_transient", "eastward_steady"} <= set(result.data_vars)
    assert result["northward_steady"].attrs["long_name"] == "steady motion, northward"


def test_a_lazy_analysis_stays_lazy() -> None:
    lazy = analysis().chunk(window=1)
    result = lazy.var4d.to_geographic()
    assert result["eastward"].chunks is not None
    xr.testing.assert_equal(result["eastward"].compute(), analysis().var4d.to_geographic()["eastward"])


def test_the_command(tmp_path) -> None:
    analysis().to_netcdf(tmp_path / "analysis.nc")
    said = CliRunner().invoke(
        application, ["geographic", str(tmp_path / "analysis.nc"), "-o", str(tmp_path / "east.nc")]
    )
    assert said.exit_code == 0, said.output
    with xr.open_dataset(tmp_path / "east.nc") as written:
        np.testing.assert_array_equal(written["eastward"], analysis().var4d.to_geographic()["eastward"])


def test_the_files_of_norkyst(shared_data) -> None:
    """Directions by the grid mapping and by the positions of the file agree within 0.2 degrees."""
    with xr.open_dataset(shared_data / "ocean-norkyst800-20160114.nc") as ocean:
        ocean = ocean.isel(X=slice(0, 40), Y=slice(0, 30)) if {"X", "Y"} <= set(ocean.dims) else ocean
        ocean = ocean.load()
    axes, faults = Axes("time", *ocean["temperature"].dims[-2:]), Faults()
    grid = horizontal_grid(ocean["temperature"], axes, faults, mapping=ocean)
    by_map = axis_directions(ocean["temperature"], axes, grid, faults, mapping=ocean)
    by_position = axis_directions(
        ocean["temperature"].assign_attrs(grid_mapping=""), axes, grid, faults, mapping=ocean.drop_vars(ocean.data_vars)
    )
    faults.raise_if_any()
    assert np.abs(by_map - np.eye(2)[:, :, None, None]).max() > 0.3  # it is well rotated
    np.testing.assert_allclose(by_map, by_position, atol=np.deg2rad(0.2))
