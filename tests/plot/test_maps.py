"""Maps: positions, coastlines, north, legends, arrows where there are data, units and windows by time."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

matplotlib = pytest.importorskip("matplotlib")

from matplotlib.collections import LineCollection, QuadMesh  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.quiver import Quiver, QuiverKey  # noqa: E402

import xvar  # noqa: E402
from tests.faults.codes import codes  # noqa: E402
from tests.records import analysis, drifting  # noqa: E402
from xvar.analysis.outputs import configuration_of  # noqa: E402
from xvar.cli import application  # noqa: E402
from xvar.errors import InputError  # noqa: E402
from xvar.plot.canvas import Canvas, make_canvas  # noqa: E402
from xvar.plot.colours import field_scale  # noqa: E402

HEIGHT = 35785863.0  # metres, of Meteosat above the ellipsoid


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


def of_type(ax, kind):
    return [child for child in ax.get_children() if isinstance(child, kind)]


def curvilinear(turn: float = 30.0) -> xr.Dataset:
    """The storm on a grid that is turned anticlockwise by some degrees, known by 2-D positions alone."""
    along, across = np.meshgrid(np.arange(128) * 1.2, np.arange(128) * 1.2)  # km
    c, s = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    latitude = 48 + (s * along + c * across) / 111.2
    longitude = -5 + (c * along - s * across) / 111.2 / np.cos(np.deg2rad(48))
    result = analysis().isel(y=slice(None, None, -1)).drop_vars(["y", "x"])
    return result.assign_coords(
        lat=(("y", "x"), latitude, {"units": "degrees_north", "standard_name": "latitude"}),
        lon=(("y", "x"), longitude, {"units": "degrees_east", "standard_name": "longitude"}),
    )


def geostationary() -> xr.Dataset:
    """Rain as a satellite has it, on scan angles."""
    radar = xvar.datasets.sample().drop_vars("valid").isel(x=slice(0, 64), y=slice(0, 64))
    angles = {"units": "rad", "standard_name": "projection_{}_angular_coordinate"}
    for axis, first, step in (("y", 4.3e6, -6e3), ("x", -5e5, 6e3)):
        attributes = {**angles, "standard_name": angles["standard_name"].format(axis)}
        radar = radar.assign_coords({axis: (axis, (first + step * np.arange(64)) / HEIGHT, attributes)})
    figure = {"semi_major_axis": 6378137.0, "semi_minor_axis": 6356752.3}
    view = {"perspective_point_height": HEIGHT, "sweep_angle_axis": "y"}
    origin = {"latitude_of_projection_origin": 0.0, "longitude_of_projection_origin": 0.0}
    radar["crs"] = ((), 0, {"grid_mapping_name": "geostationary", **figure, **view, **origin})
    radar["rain"].attrs["grid_mapping"] = "crs"
    return radar.isel(time=slice(0, 4))


def plane(data: xr.Dataset, **options) -> Canvas:
    return make_canvas(data["u"], data, configuration_of(data), **options)


@pytest.fixture
def natural_earth(tmp_path, monkeypatch):
    """A folder of cartopy with one coast, the parallel of 48.5 degrees north, and one border, 4 degrees west."""
    cartopy, shapefile = (pytest.importorskip(name) for name in ("cartopy", "shapefile"))
    degrees = np.linspace(-9, 9, 721)
    for category, name, line in (
        ("physical", "coastline", [(x, 48.5) for x in degrees]),
        ("cultural", "admin_0_boundary_lines_land", [(-4.0, 48 + y) for y in degrees]),
    ):
        folder = tmp_path / "shapefiles" / "natural_earth" / category
        folder.mkdir(parents=True)
        with shapefile.Writer(str(folder / f"ne_50m_{name}"), shapeType=shapefile.POLYLINE) as writer:
            writer.field("number", "N")
            writer.line([line])
            writer.record(1)
    monkeypatch.setitem(cartopy.config, "pre_existing_data_dir", tmp_path)


@pytest.mark.parametrize("turn", [0.0, 30.0, -60.0])
def test_north_on_a_grid_of_2d_positions(turn: float) -> None:
    # A grid that is turned anticlockwise sees north turned clockwise.
    np.testing.assert_allclose(plane(curvilinear(turn)).north, turn, atol=0.6)


def test_a_grid_of_2d_positions_is_a_map_with_latitude_and_longitude(ax) -> None:
    data = curvilinear()
    data.var4d.plot.motion(ax=ax)
    ax.figure.draw_without_rendering()
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert all(label.endswith("°N") for label in labels)
    for place, label in zip(ax.get_yticks(), labels, strict=True):  # along the left edge, by the positions of the data
        latitude = np.interp(place, plane(data).y, data["lat"].values[:, 0])
        np.testing.assert_allclose(latitude, float(label.removesuffix("°N")), atol=0.01)
    assert {label.get_text()[-2:] for label in ax.get_xticklabels()} == {"°W"}
    (mesh,) = of_type(ax, QuadMesh)
    np.testing.assert_allclose(np.ptp(mesh.get_coordinates()[..., 0]), 128 * 1.2, rtol=0.02)


def test_scan_angles_are_a_map_in_the_view_of_the_satellite() -> None:
    crs = pytest.importorskip("cartopy.crs")
    result = geostationary().var4d.assimilate()
    figure = result.var4d.plot.motion(ax=None).figure
    panel = figure.axes[0]
    place = crs.PlateCarree().transform_point(-5e5, 4.3e6, panel.projection)
    expected = crs.PlateCarree().transform_point(-5e5, 4.3e6, crs.Geostationary(0.0, HEIGHT, sweep_axis="y"))
    np.testing.assert_allclose(place, expected, atol=1e-3)
    np.testing.assert_allclose(panel.get_xlim(), [-503e3, -503e3 + 64 * 6e3])
    assert abs(plane(result).north) < 10
    assert "echo" not in panel.get_title("left")


@pytest.mark.parametrize("turn", [0.0, 30.0])
def test_coastlines_and_borders_at_their_places_on_2d_positions(ax, natural_earth, turn: float) -> None:
    data = curvilinear(turn)
    data.var4d.plot.motion(ax=ax, coastlines="50m")
    (lines,) = [part for part in of_type(ax, LineCollection) if part.get_label() == "coastlines"]
    coast, border = lines.get_segments()
    reference = plane(data).reference
    points = {name: xr.DataArray(coast[:, axis], dims="p") for axis, name in enumerate("xy")}
    grid = data["lat"].drop_vars(["lat", "lon"]).assign_coords(y=plane(data).y, x=plane(data).x)
    latitude = grid.interp(points).dropna("p")
    assert latitude.size > 20
    np.testing.assert_allclose(latitude, 48.5, atol=2e-3)
    north, east = np.array([48.5]), np.array([-4.0])
    crossing = np.stack(reference.locate(north, east), axis=-1)
    assert np.nanmin(np.hypot(*(border - crossing).T)) < 2.5  # km


def test_coastlines_on_maps_of_cartopy(natural_earth) -> None:
    crs = pytest.importorskip("cartopy.crs")
    data = analysis().assign_coords(
        y=("y", np.linspace(49, 47, 128), {"units": "degrees_north"}),
        x=("x", np.linspace(-6, -3, 128), {"units": "degrees_east"}),
    )
    for ax in (None, Figure().add_subplot(projection=crs.Orthographic(-5, 48)), Figure().subplots()):
        panel = data.var4d.plot.motion(ax=ax, coastlines="50m")
        (lines,) = [part for part in of_type(panel, LineCollection) if part.get_label() == "coastlines"]
        to_pixels = (lines.get_transform() - panel.transData) if ax is not None else None
        coast = lines.get_segments()[0]
        coast = coast[np.isfinite(coast).all(1)]
        if ax is None:  # PlateCarree around the middle
            np.testing.assert_allclose(coast[:, 1], 48.5)
            assert coast[:, 0].min() > -4
        elif hasattr(ax, "projection"):
            drawn = to_pixels.transform(coast)
            expected = panel.projection.transform_points(crs.PlateCarree(), coast[:, 0] - 4.5, coast[:, 1])[:, :2]
            np.testing.assert_allclose(drawn, expected, atol=1e3)
        else:
            np.testing.assert_allclose(coast[:, 1], 48.5)


def test_nothing_is_downloaded_unless_coastlines_are_asked_for(ax, monkeypatch) -> None:
    reader = pytest.importorskip("cartopy.io.shapereader")

    def refused(*_layer: str) -> str:
        raise OSError("no network")

    monkeypatch.setattr(reader, "natural_earth", refused)
    curvilinear().var4d.plot.motion(ax=ax)
    for data, coastlines, code in (
        (curvilinear(), "50m", "coastlines-missing"),
        (curvilinear(), "5m", "unknown-choice"),
        (analysis(), "50m", "no-georeference"),
    ):
        with pytest.raises(InputError) as error:
            data.var4d.plot.motion(ax=Figure().subplots(), coastlines=coastlines)
        assert codes(error.value) == [code]


def test_without_georeference_distances_are_northings_and_eastings(ax) -> None:
    analysis().var4d.plot.motion(ax=ax)
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("northing (km)", "easting (km)")
    bare = analysis().drop_vars(["y", "x"])
    bare.attrs["xvar_configuration"] = json.dumps(json.loads(bare.attrs["xvar_configuration"]) | {"dx": 1e3, "dy": 1e3})
    assert plane(bare).north is None
    assert plane(bare).labels == ("y (km)", "x (km)")


def test_the_colour_wheel_has_compass_points_and_is_beside_the_data(ax) -> None:
    curvilinear(30).var4d.plot.motion(style="colours", ax=ax)
    (wheel,) = ax.child_axes
    letters = {text.get_text(): text.get_position() for text in wheel.texts if len(text.get_text()) == 1}
    assert set(letters) == set("NESW")
    x, y = letters["N"]
    np.testing.assert_allclose(np.degrees(np.arctan2(x, y)), 30, atol=0.6)
    np.testing.assert_allclose(letters["S"], [-x, -y])
    ax.figure.draw_without_rendering()
    data, legend = ax.get_window_extent(), wheel.get_tightbbox()
    assert legend.x0 > data.x1
    assert legend.x1 <= ax.figure.bbox.x1


def test_arrows_only_where_the_image_was_observed(ax) -> None:
    result = analysis().copy(deep=True)
    result["rain_observed"][:, :, :64] = np.nan
    result.var4d.plot.motion(ax=ax)
    (arrows,) = of_type(ax, Quiver)
    hidden, east = np.ravel(arrows.Umask), np.ravel(arrows.X) - float(result["x"][64]) / 1e3
    assert hidden[east < -5].all()
    assert not hidden[east > 5].any()


def test_greys_the_dotted_line_and_the_arrow_have_legends(ax) -> None:
    result = analysis().copy(deep=True)
    result["rain_observed"][:, :20] = np.nan
    for name in ("u_steady", "v_steady", "u", "v"):
        result[name][..., 90:] = np.nan
    result.var4d.plot.motion(ax=ax)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["never known: land or no data", "not observed"]
    (key,) = of_type(ax, QuiverKey)
    assert key.text.get_text().endswith("m s⁻¹")
    assert key.color == matplotlib.rcParams["text.color"]
    ax.figure.draw_without_rendering()
    assert ax.get_legend().get_window_extent().y1 < ax.get_window_extent().y0
    forecast = analysis().var4d.forecast("15min")
    figure = forecast.var4d.plot.forecast(figure=Figure(layout="compressed"))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["beyond: from outside the grid, the last frame kept"]
    plain = analysis().var4d.plot.motion(ax=Figure().subplots())
    assert plain.get_legend() is None


@pytest.mark.parametrize(("count", "shown"), [(7, [1, 3, 5, 7]), (6, [2, 4, 6]), (3, [1, 2, 3]), (12, [3, 6, 9, 12])])
def test_panels_of_a_forecast_are_evenly_spaced(count: int, shown: list[int]) -> None:
    forecast = analysis().isel(window=[0]).var4d.forecast(f"{5 * count}min")
    figure = forecast.var4d.plot.forecast(figure=Figure(layout="compressed"))
    titles = [panel.get_title() for panel in figure.axes if panel.get_title().startswith("+")]
    assert titles == [f"+{5 * number} min" for number in shown]


def test_temperatures_in_kelvin_are_drawn_in_degrees_celsius(ax) -> None:
    record = drifting()
    kelvin = (record + 273.15).assign_coords(record.coords)
    kelvin["sst"].attrs = {"units": "K", "standard_name": "sea_surface_temperature"}
    result = kelvin.var4d.assimilate()
    result.var4d.plot.field(ax=ax)
    (mesh,) = of_type(ax, QuadMesh)
    assert 10 < float(mesh.get_array().mean()) < 20
    assert ax.figure.axes[1].get_ylabel() == "sst (°C)"
    configuration = configuration_of(result)
    brightness = result["sst"].assign_attrs(units="K", standard_name="toa_brightness_temperature")
    assert field_scale([brightness.values], brightness, configuration).label == "sst (K)"


def test_the_cost_of_windows_is_by_time(ax) -> None:
    analysis().var4d.plot.cost(ax=ax)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["23:00", "23:15"]
    assert ax.get_xlabel() == "end of the window (UTC), 2018-01-03"


@pytest.mark.parametrize(
    ("time", "end"),
    [("2018-01-03 23:00", "23:00"), ("2018-01-03T23:05", "23:15"), (np.datetime64("2018-01-03T23:15"), "23:15")],
)
def test_a_window_is_chosen_by_time(ax, time: object, end: str) -> None:
    analysis().var4d.plot.motion(window=time, ax=ax)
    assert ax.get_title("left").endswith(f"2018-01-03 {end} UTC")


@pytest.mark.parametrize("time", ["2018-01-04", "soon"])
def test_a_time_in_no_window_is_refused(time: str) -> None:
    with pytest.raises(InputError) as error:
        analysis().var4d.plot.motion(window=time)
    assert codes(error.value) == ["index-out-of-range"]


def test_the_shell_draws_what_a_file_holds(tmp_path, monkeypatch) -> None:
    from matplotlib import image, pyplot

    pyplot.switch_backend("agg")
    monkeypatch.chdir(tmp_path)
    forecast = analysis().var4d.forecast("15min")
    analysis().to_netcdf("analysis.nc")
    forecast.to_netcdf("forecast.nc")
    forecast.var4d.verify(xvar.datasets.sample()).to_netcdf("scores.nc")
    for words, kind in (
        ("scores.nc", "skill"),
        ("forecast.nc", "forecast"),
        ("analysis.nc", "motion"),
        ("analysis.nc --window 2018-01-03T23:00", "motion --window 0"),
    ):
        for path, more in (("a.png", ""), ("b.png", f"--kind {kind}")):
            source = words if not more else words.split()[0]
            done = CliRunner().invoke(application, f"plot {source} -o {path} --overwrite {more}".split())
            assert done.exit_code == 0, done.output
        np.testing.assert_array_equal(image.imread("a.png"), image.imread("b.png"))
    pyplot.close("all")


def test_longitudes_of_narrow_panels_do_not_touch() -> None:
    pytest.importorskip("cartopy")
    places = {"y": np.linspace(35.8, 34.4, 128), "x": np.linspace(-5.2, -3.4, 128)}
    result = analysis().assign_coords(
        y=("y", places["y"], {"units": "degrees_north"}), x=("x", places["x"], {"units": "degrees_east"})
    )
    figure = result.var4d.plot.field("rain", window=0, col="step", col_wrap=2, size=2.0).fig
    figure.canvas.draw()
    lines = [part for ax in figure.axes for part in ax.get_children() if type(part).__name__ == "Gridliner"]
    seen = [[label.get_visible() for label in one.bottom_label_artists] for one in lines]
    labelled = [labels for labels in seen if any(labels)]
    assert len(labelled) == 2  # the lower panels
    assert all(map(all, labelled))  # cartopy hides a label that touches another
