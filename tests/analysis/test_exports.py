"""Motion and forecasts for others: GeoJSON, tables, GeoTIFF."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import xvar
from tests.faults.codes import codes
from xvar.cli import application
from xvar.errors import InputError
from xvar.io.writing import write

pytestmark = pytest.mark.usefixtures("one_thread")
pyproj = pytest.importorskip("pyproj")
MAP = {
    "grid_mapping_name": "lambert_conformal_conic",
    "standard_parallel": [45.0, 55.0],
    "longitude_of_central_meridian": 10.0,
    "latitude_of_projection_origin": 50.0,
    "false_easting": 0.0,
    "false_northing": 0.0,
    "semi_major_axis": 6371000.0,
    "semi_minor_axis": 6371000.0,
}


@pytest.fixture(scope="module")
def nowcast() -> xr.Dataset:
    """A nowcast of the storm on a map."""
    radar = xvar.datasets.sample().isel(y=slice(20, 84), x=slice(40, 104))
    radar["rain"].attrs["grid_mapping"] = "crs"
    for dim in ("y", "x"):
        radar[dim].attrs |= {"units": "m", "standard_name": f"projection_{dim}_coordinate"}
    return xvar.nowcast(radar.assign(crs=((), 0, MAP)), "10min", hindcast=False)


@pytest.fixture(scope="module")
def on_degrees(nowcast) -> xr.Dataset:
    """A nowcast on latitude and longitude, of longitudes from 0 to 360."""
    radar = xvar.datasets.sample().isel(y=slice(20, 60), x=slice(40, 88))
    north = {"units": "degrees_north", "standard_name": "latitude"}
    east = {"units": "degrees_east", "standard_name": "longitude"}
    coordinates = {"y": ("y", 48 - 0.01 * np.arange(40), north), "x": ("x", 355 + 0.015 * np.arange(48), east)}
    radar = radar.drop_vars(["y", "x"]).assign_coords(coordinates)
    return xvar.nowcast(radar.drop_vars([name for name in radar.data_vars if name != "rain"]), "10min", hindcast=False)


def places(nowcast: xr.Dataset) -> tuple[Any, Any]:
    own = pyproj.CRS.from_cf(MAP)
    transform = pyproj.Transformer.from_crs(own, own.geodetic_crs, always_xy=True)
    return transform.transform(*np.meshgrid(nowcast["x"], nowcast["y"]))


def test_an_arrow_leads_to_where_the_motion_goes(nowcast) -> None:
    found = nowcast.var4d.to_geojson("motion", every=8, reach="100s")
    assert len(found["features"]) == 64
    own = pyproj.CRS.from_cf(MAP)
    transform = pyproj.Transformer.from_crs(own.geodetic_crs, own, always_xy=True)
    longitude, latitude = places(nowcast)
    for feature, (row, column) in zip(found["features"], np.ndindex(8, 8), strict=True):
        begin, end = (np.array(point) for point in feature["geometry"]["coordinates"])
        at = 3 + 8 * row, 3 + 8 * column
        np.testing.assert_allclose(begin, (longitude[at], latitude[at]), atol=1e-5)
        moved = np.subtract(*(transform.transform(*point) for point in (end, begin)))
        u, v = (float(nowcast[f"{name}_steady"][0][at]) for name in "uv")
        np.testing.assert_allclose(moved / 100, (u, v), rtol=0.02, atol=0.3)
        about = feature["properties"]
        assert about["speed"] == pytest.approx(np.hypot(u, v), rel=1e-3)
        assert about["time"] == "2018-01-03T23:15:00Z"


def test_areas_hold_the_points_above_the_threshold(nowcast) -> None:
    pytest.importorskip("contourpy")
    shapely = pytest.importorskip("shapely")
    found = nowcast.var4d.to_geojson(above=(0.5, 1))
    own = nowcast.var4d.to_table(every=1)
    assert {feature["properties"]["lead_minutes"] for feature in found["features"]} == {5.0, 10.0}
    assert len(found["features"]) == 4
    for feature in found["features"]:
        area = shapely.from_geojson(json.dumps(feature["geometry"]))
        rows = own[own["lead_minutes"] == feature["properties"]["lead_minutes"]]
        rate = rows["rain"].to_numpy() * 0.12  # mm/h of 0.01 mm in 5 min
        limit = feature["properties"]["threshold"]
        inside = shapely.contains_xy(area.buffer(1e-4), rows["longitude"], rows["latitude"])
        above, below = rate > limit * 1.01, rate < limit * 0.99
        assert inside[above].mean() > 0.995
        assert inside[below].mean() < 0.01
        assert above.any()


def test_a_table_has_a_row_for_each_point(nowcast) -> None:
    table = nowcast.var4d.to_table("motion", every=16)
    assert len(table) == 16
    assert table["speed"].to_numpy() == pytest.approx(np.hypot(table["u"], table["v"]).to_numpy(), rel=1e-4)
    direction = np.degrees(np.arctan2(table["eastward"], table["northward"])) % 360
    assert table["direction"].to_numpy() == pytest.approx(direction.to_numpy())
    ahead = nowcast.var4d.to_table(every=16)
    assert list(ahead.columns) == ["time", "lead_minutes", "latitude", "longitude", "rain"]
    assert len(ahead) == 32
    np.testing.assert_array_equal(ahead["rain"][:16], nowcast["rain"][0, 0].values[7::16, 7::16].ravel())
    total = nowcast.var4d.to_table("motion", every=16, part="total")
    np.testing.assert_array_equal(total["u"], nowcast["u"][0].values[7::16, 7::16].ravel())


def test_longitudes_are_from_minus_180(on_degrees) -> None:
    table = on_degrees.var4d.to_table("motion", every=1)
    assert -5.001 < table["longitude"].min() < table["longitude"].max() < 0
    np.testing.assert_allclose(table["eastward"], table["u"])


def test_an_analysis_and_a_forecast_are_exported_too() -> None:
    radar = xvar.datasets.sample().isel(y=slice(20, 60), x=slice(40, 80))
    north = {"units": "degrees_north", "standard_name": "latitude"}
    east = {"units": "degrees_east", "standard_name": "longitude"}
    coordinates = {"y": ("y", 48 - 0.01 * np.arange(40), north), "x": ("x", 2 + 0.015 * np.arange(40), east)}
    radar = radar.drop_vars(["y", "x"]).assign_coords(coordinates)[["rain"]]
    analysis = radar.var4d.assimilate()
    first, last = (analysis.var4d.to_table(every=10, window=window) for window in (0, -1))
    assert (first["time"][0], last["time"][0]) == ("2018-01-03T23:00:00Z", "2018-01-03T23:15:00Z")
    forecast = analysis.var4d.forecast("5min").var4d.to_table(every=10)
    assert forecast["time"][0] == "2018-01-03T23:20:00Z"


@pytest.mark.parametrize("of", ["motion", "forecast"])
@pytest.mark.parametrize("which", ["nowcast", "on_degrees"])
def test_a_geotiff_is_read_back_with_its_map(request, which, of, tmp_path) -> None:
    rioxarray = pytest.importorskip("rioxarray")
    data = request.getfixturevalue(which)
    path = data.var4d.to_geotiff(tmp_path / "a.tif", of)
    with rioxarray.open_rasterio(path) as image:
        reference = pyproj.CRS.from_cf(MAP) if which == "nowcast" else pyproj.CRS("EPSG:4326")
        assert pyproj.CRS(image.rio.crs).is_geographic == reference.is_geographic
        expected = data["u_steady"] if of == "motion" else data["rain"][0]
        expected = expected.sortby("y", ascending=False).values
        np.testing.assert_array_equal(image.values[0], expected[0])
        np.testing.assert_allclose(image["x"], data["x"], rtol=1e-9)
        names = image.attrs["long_name"]
        assert names == (
            ("u", "v", "speed", "direction") if of == "motion" else ("2018-01-03T23:20:00Z", "2018-01-03T23:25:00Z")
        )


def test_the_shell_writes_what_python_gives(nowcast, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(nowcast, "nowcast.nc")
    for words in (
        ["a.geojson", "--of", "motion", "--every", "8", "--reach", "10min"],
        ["b.geojson", "--above", "0.5", "--above", "1"],
        ["c.csv", "--of", "motion", "--part", "total"],
        ["d.tif"],
    ):
        done = CliRunner().invoke(application, ["export", "nowcast.nc", "-o", *words])
        assert done.exit_code == 0, done.output
        assert done.stdout.startswith(f"{words[0]}: ")
    motion = nowcast.var4d.to_geojson("motion", every=8, reach="10min")
    assert json.loads((tmp_path / "a.geojson").read_text()) == motion
    assert len(json.loads((tmp_path / "b.geojson").read_text())["features"]) == 4
    text = nowcast.var4d.to_table("motion", part="total").to_csv(index=False)
    assert (tmp_path / "c.csv").read_text() == text
    assert CliRunner().invoke(application, ["export", "nowcast.nc", "-o", "a.geojson"]).exit_code == 2


@pytest.mark.parametrize(
    ("change", "options", "code"),
    [
        (lambda data: data.drop_vars("crs"), {}, "positions-unknown"),
        (lambda data: data, {"of": "rain"}, "unknown-choice"),
        (lambda data: data, {"part": "half"}, "unknown-choice"),
        (lambda data: data.drop_vars("u"), {"of": "motion"}, "not-an-analysis"),
        (lambda data: data.isel(lead_time=0, drop=True), {"of": "forecast"}, "not-a-forecast"),
    ],
)
def test_what_cannot_be_exported_is_refused(nowcast, change, options, code) -> None:
    with pytest.raises(InputError) as info:
        change(nowcast).var4d.to_table(**options)
    assert codes(info.value) == [code]


def test_a_grid_without_a_map_is_no_geotiff(nowcast, tmp_path) -> None:
    pytest.importorskip("rioxarray")
    with pytest.raises(InputError) as info:
        nowcast.isel(x=[0, 1, 3, 4, 5, 6, 7, 8, 9]).var4d.to_geotiff(tmp_path / "a.tif")
    assert codes(info.value) == ["no-map-for-geotiff"]
    assert not list(tmp_path.iterdir())
