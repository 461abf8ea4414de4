"""Elements of the pictures and their values."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

matplotlib = pytest.importorskip("matplotlib")

from matplotlib.collections import LineCollection, QuadMesh  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.quiver import Quiver  # noqa: E402

import xvar  # noqa: E402
from tests.faults.codes import codes  # noqa: E402
from tests.records import analysis  # noqa: E402
from xvar.errors import InputError  # noqa: E402
from xvar.plot.colours import in_symbols, motion_colours  # noqa: E402


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


def of_type(ax, kind):
    return [child for child in ax.get_children() if isinstance(child, kind)]


@pytest.mark.parametrize("descending", [True, False])
def test_orientation_of_arrows_and_image(ax, descending) -> None:
    result = analysis().sortby("y", ascending=not descending)
    assert result.var4d.plot.motion(ax=ax) is ax
    (arrows,) = of_type(ax, Quiver)
    assert np.nanmean(arrows.U) > 40  # eastwards
    assert np.nanmean(arrows.V) < 0  # and to the south, down on the paper
    low, high = ax.get_ylim()
    assert low < high
    (mesh,) = of_type(ax, QuadMesh)
    values = np.asarray(mesh.get_array()).reshape(128, 128)
    observed = result["rain_observed"][-1].values * 0.12
    np.testing.assert_allclose(values, observed, rtol=1e-6)
    # The corner of the mesh that belongs to the first row lies at its y.
    corner = mesh.get_coordinates()[0, 0, 1]
    assert abs(corner - float(result["y"][0]) / 1e3) < 1.2
    assert ax.get_xlabel() == "easting (km)"
    assert ax.get_aspect() == 1


def test_arrows_and_colours_are_of_the_steady_motion_if_there_is_one(ax) -> None:
    still = analysis().assign({name: 0 * analysis()[name] for name in ("u_steady", "v_steady")})
    still["u_steady"][-1] += 30.0
    still.var4d.plot.motion(ax=ax)
    (arrows,) = of_type(ax, Quiver)
    np.testing.assert_allclose(arrows.U, 30.0, rtol=1e-6)
    assert "steady motion of rain" in ax.get_title("left")
    total = still.var4d.plot.motion(part="total", ax=Figure().subplots())
    assert np.std(of_type(total, Quiver)[0].U) > 1
    assert "steady" not in total.get_title("left")
    with pytest.raises(InputError) as error:
        still.var4d.plot.motion(part="mean")
    assert codes(error.value) == ["unknown-choice"]


def test_a_window_of_fewer_frames_is_drawn_at_its_own_end() -> None:
    radar = xvar.datasets.sample().isel(time=slice(0, 6))
    result = radar.var4d.assimilate(partial="keep")
    _, axes = result.var4d.plot.motion(col="window").axs.flat
    assert axes.get_title() == "2018-01-03 23:10 UTC"
    (arrows,) = of_type(axes, Quiver)
    (mesh,) = of_type(axes, QuadMesh)
    assert np.nanmean(arrows.U) > 40
    observed = radar["rain"].isel(time=-1).values * 0.12
    np.testing.assert_allclose(np.asarray(mesh.get_array()).reshape(128, 128), observed, rtol=1e-6)


def test_streamlines_and_colours(ax) -> None:
    other = Figure().subplots()
    analysis().var4d.plot.motion(style="streamlines", ax=ax)
    assert of_type(ax, LineCollection)
    analysis().var4d.plot.motion(style="colours", window=0, step=1, ax=other)
    assert len(other.child_axes) == 1  # the wheel
    assert other.get_title(loc="left").endswith("2018-01-03 22:50 UTC")


def test_hues_of_the_colour_wheel() -> None:
    # Right is red, left is cyan; rest is white, missing grey, too fast darker.
    u, v = np.array([[1.0, -1.0, 0.0, np.nan, 2.0]]), np.zeros((1, 5))
    colours = motion_colours(u, v, 1.0)[0]
    np.testing.assert_allclose(colours[0], [1, 0, 0])
    assert colours[1][0] < 0.2 < colours[1][1]
    np.testing.assert_allclose(colours[2], 1)
    np.testing.assert_allclose(colours[3], 0.82)
    np.testing.assert_allclose(colours[4], [0.75, 0, 0])
    around = np.linspace(0, 2 * np.pi, 721)
    wheel = motion_colours(np.cos(around)[None], np.sin(around)[None], 1.0)[0]
    np.testing.assert_allclose(wheel[0], wheel[-1], atol=1e-6)
    assert np.abs(np.diff(wheel, axis=0)).max() < 0.1


def test_motion_that_is_zero_or_missing_is_drawn(ax) -> None:
    still = analysis().copy(deep=True)
    still["u_steady"][:], still["v_steady"][:] = 0, np.nan
    for style in ("arrows", "streamlines", "colours"):
        still.var4d.plot.motion(style=style, ax=Figure().subplots())
    still["v_steady"][:] = 0
    for style in ("arrows", "streamlines", "colours"):
        still.var4d.plot.motion(style=style, ax=Figure().subplots())


def test_latitude_and_longitude_are_drawn_in_degrees_to_scale(ax) -> None:
    result = analysis().assign_coords(
        y=("y", np.linspace(49, 47, 128), {"units": "degrees_north"}),
        x=("x", np.linspace(-6, -3, 128), {"units": "degrees_east"}),
    )
    result.var4d.plot.motion(ax=ax)
    np.testing.assert_allclose(ax.get_aspect(), 1 / np.cos(np.deg2rad(48)))
    assert ax.get_ylabel() == "latitude (degrees north)"


@pytest.mark.parametrize(
    ("units", "printed"),
    [
        ("mm h-1", "mm h⁻¹"),
        ("mm/h", "mm h⁻¹"),
        ("m s**-1", "m s⁻¹"),
        ("Celsius", "°C"),
        ("degree Celsius", "°C"),
        ("degC", "°C"),
        ("degree_Celsius", "°C"),
        ("0.01 mm (5 min)-1", "0.01 mm (5 min)⁻¹"),
        ("kg m-2 s-1", "kg m⁻² s⁻¹"),
        ("dBZ", "dBZ"),
    ],
)
def test_units_in_print(units: str, printed: str) -> None:
    assert in_symbols(units) == printed


def test_the_rim_of_the_wheel_leaves_out_outliers(ax) -> None:
    turning = analysis().isel(window=[0]).copy(deep=True)
    speeds = np.linspace(1, 2, turning["u_steady"].size).reshape(turning["u_steady"].shape)
    turning["u_steady"][:], turning["v_steady"][:] = speeds, 0.0
    turning.var4d.plot.motion(style="colours", ax=ax)
    rim = ax.child_axes[0].texts[-1].get_text()
    assert rim == "2 m s⁻¹"
    turning["u_steady"][0, 5, 5] = 100.0  # an outlier does not make all others pale
    other = Figure().subplots()
    turning.var4d.plot.motion(style="colours", ax=other)
    assert other.child_axes[0].texts[-1].get_text() == "2 m s⁻¹"


def test_a_cost_that_falls_far_has_a_logarithmic_axis(ax) -> None:
    data = xr.Dataset(
        {
            "cost_history": (("window", "evaluation"), [[1e6, 1e3, 10.0], [9.0, 8.0, np.nan]]),
            "minimisation": (("window", "evaluation"), [[1, 1, 1], [1, 1, 0]], {"flag_meanings": "none whole_grid"}),
        },
        {"evaluation": [1, 2, 3]},
    )
    data.var4d.plot.cost_history(window=0, ax=ax)
    assert ax.get_yscale() == "log"
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[1, 1e6], [2, 1e3], [3, 10.0]])
    with pytest.raises(InputError) as error:
        data.var4d.plot.cost_history(window=2)
    assert codes(error.value) == ["index-out-of-range"]
    assert (error.value.faults[0].dimension, error.value.faults[0].index) == ("window", 2)


def test_the_history_of_the_cost_is_no_term_of_the_cost(ax) -> None:
    history = xr.DataArray(np.ones((2, 3)), dims=("window", "evaluation"))
    with_history = analysis().assign(cost_history=history, cost_history_observation=history)
    analysis().var4d.plot.cost(ax=ax)
    other = with_history.var4d.plot.cost(ax=Figure().subplots())
    assert other.get_legend_handles_labels()[1] == ax.get_legend_handles_labels()[1]


def test_cost_forecast_and_skill(ax) -> None:
    radar = xvar.datasets.sample()
    forecast = analysis().var4d.forecast("15min")
    analysis().var4d.plot.cost(ax=ax)
    heights = sorted(bar.get_height() for bar in ax.patches)
    np.testing.assert_allclose(heights[-1], float(analysis()["cost_observation"].max()))
    figure = forecast.var4d.plot.forecast(radar, window=0, figure=Figure(layout="constrained"))
    panels = [panel for panel in figure.axes if panel.get_subplotspec() is not None][:6]
    shown = of_type(panels[3], QuadMesh)[0].get_array()
    np.testing.assert_allclose(np.asarray(shown).reshape(128, 128), radar["rain"][4] * 0.12, rtol=1e-6)
    assert [panel.get_title() for panel in panels[:3]] == ["+5 min", "+10 min", "+15 min"]
    lines = Figure().subplots()
    scores = forecast.var4d.verify(radar)
    assert forecast.var4d.plot.skill(scores, ax=lines) is lines
    np.testing.assert_array_equal(lines.lines[0].get_ydata(), scores["rmse"])
    np.testing.assert_array_equal(lines.lines[1].get_ydata(), scores["rmse_persistence"])
    events = scores.var4d.plot.skill(score="csi", ax=Figure().subplots())
    assert len(events.lines) == 7


@pytest.mark.parametrize(
    ("picture", "options", "code"),
    [
        ("motion", {"style": "dots"}, "unknown-choice"),
        ("motion", {"window": 2}, "index-out-of-range"),
        ("motion", {"col": "lead_time"}, "unknown-dimension"),
        ("motion", {"col": "window", "ax": "ax"}, "option-conflict"),
        ("field", {"variable": "snow"}, "unknown-variable"),
        ("innovation", {}, "not-saved"),
        ("residual", {}, "not-saved"),
        ("increment", {}, "not-saved"),
        ("forcing", {}, "not-saved"),
        ("cost_history", {}, "not-saved"),
        ("forecast", {}, "not-a-forecast"),
        ("skill", {"score": "luck"}, "unknown-score"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_refused(ax, picture: str, options: dict[str, object], code: str) -> None:
    options = {key: ax if value == "ax" else value for key, value in options.items()}
    with pytest.raises(InputError) as error:
        getattr(analysis().var4d.plot, picture)(**options)
    assert codes(error.value) == [code]


@pytest.mark.parametrize("picture", ["motion", "field", "innovation", "increment", "forcing", "cost", "animation"])
def test_a_dataset_that_is_no_analysis_is_refused(picture: str) -> None:
    with pytest.raises(InputError) as error:
        getattr(xvar.datasets.sample().var4d.plot, picture)()
    assert codes(error.value) == ["not-an-analysis"]


def test_cartopy_axes_need_a_georeference() -> None:
    crs = pytest.importorskip("cartopy.crs")
    with pytest.raises(InputError) as error:
        analysis().var4d.plot.motion(ax=Figure().add_subplot(projection=crs.Orthographic(0, 50)))
    assert codes(error.value) == ["no-georeference"]


def test_members_of_an_ensemble() -> None:
    ensemble = analysis().isel(window=[0]).var4d.forecast("10min", members=2)
    panels = ensemble.var4d.plot.field(col="member").axs.flat
    figure = ensemble.var4d.plot.forecast(member=1, figure=Figure(layout="constrained"))
    last = of_type(figure.axes[1], QuadMesh)[0].get_array()
    for member, panel in enumerate(panels):
        drawn = np.ma.filled(of_type(panel, QuadMesh)[0].get_array(), np.nan).reshape(128, 128)
        np.testing.assert_allclose(drawn, ensemble["rain"][0, member, -1] * 0.12, rtol=1e-6)
    np.testing.assert_array_equal(np.ma.filled(last, np.nan).reshape(128, 128), drawn)
    film = ensemble.var4d.plot.animation(member=1, figure=Figure())
    film._draw_was_started = True  # or matplotlib warns that it was not shown
    with pytest.raises(InputError) as error:
        ensemble.var4d.plot.forecast(member=2)
    assert codes(error.value) == ["index-out-of-range"]


def test_new_axes_by_default() -> None:
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    try:
        assert analysis().var4d.plot.cost().figure.axes
    finally:
        pyplot.close("all")
