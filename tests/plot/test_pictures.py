"""Pictures as they were when they were looked at: each is compared with the one in ``baseline``.

``pytest tests/plot/test_pictures.py --mpl-generate-path=tests/plot/baseline`` draws them anew; look at every one that
changed. Texts are left out, for fonts differ between versions of matplotlib; the tolerance is the root mean square over
all pixels, of 255, which a picture that is upside down, or arrows that point elsewhere, exceed.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
import xarray as xr

pytest.importorskip("matplotlib")
pytest.importorskip("pytest_mpl")

from matplotlib.figure import Figure

import xvar
from tests.records import drifting

compared = functools.partial(
    pytest.mark.mpl_image_compare,
    baseline_dir="baseline",
    tolerance=8,
    remove_text=True,
    style="default",
    savefig_kwargs={"dpi": 40},
)


def bare(figure):
    """A picture without texts and layout: fonts, and the room that is left for them, differ between versions."""
    from matplotlib.legend import Legend
    from matplotlib.quiver import QuiverKey
    from matplotlib.text import Text

    for artist in figure.findobj(lambda one: isinstance(one, (Legend, QuiverKey, Text))):
        artist.set_visible(False)
    figure.set_layout_engine("none")
    for ax in figure.axes:
        for lines in ax.findobj(lambda artist: hasattr(artist, "left_labels")):  # of cartopy
            lines.left_labels = lines.bottom_labels = False
    return figure


def canvas(width: float = 4.0, height: float = 3.4, **options) -> Figure:
    return Figure(figsize=(width, height), **options)


@pytest.fixture(autouse=True)
def closed():
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")


def vortex(size: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """A vortex in a stream to the east, in m/s."""
    y, x = np.meshgrid(np.linspace(1, -1, size), np.linspace(-1, 1, size), indexing="ij")
    strength = 40 * np.exp(-3 * (x**2 + y**2))
    return 10 - strength * y, strength * x


@functools.lru_cache
def saved() -> xr.Dataset:
    """The storm as it was observed under a vortex: no picture depends on what the solver finds."""
    radar = xvar.datasets.sample()
    names = ("increment", "innovation", "residual")
    result = radar.var4d.assimilate(save=names).copy(deep=True)
    u, v = vortex()
    frames = radar["rain"].values[np.array([[0, 1, 2, 3], [3, 4, 5, 6]])]
    result["rain"][:], result["rain_observed"][:] = frames, frames[:, -1]
    result["rain_innovation"][:], result["rain_residual"][:] = frames - frames[:, -1:], (frames - frames[:, :1]) / 2
    result["u_steady"][:], result["v_steady"][:] = u, v
    for name, values in {"u": u, "v": v, "u_increment": u - 10, "v_increment": v, "growth": v / 40}.items():
        result[name][:] = values
    result["cost"][:], result["cost_background"][:], result["cost_observation"][:] = [6, 4], [0, 1], [6, 3]
    return result


@functools.lru_cache
def forecast() -> xr.Dataset:
    """The last frame of the first window, kept, with nothing known at the left."""
    result = saved().isel(window=[0]).var4d.forecast("15min").copy(deep=True)
    result["rain"][:] = saved()["rain_observed"].values[0]
    result["origin"][:] = np.arange(128) < 30
    return result


@functools.lru_cache
def weak() -> xr.Dataset:
    """Water under a vortex, and a model error that grows."""
    record = drifting(frames=4)
    result = record.var4d.assimilate(constraint="weak").copy(deep=True)
    u, v = vortex(48)
    result["u"][:], result["v"][:] = u, v
    result["sst"][:], result["sst_observed"][:] = record["sst"].values, record["sst"].values[-1]
    for interval in range(3):
        result["u_forcing"][0, interval], result["v_forcing"][0, interval] = u * interval * 1e-3, v * interval * 1e-3
    return result


def on_a_map(land: bool = True) -> xr.Dataset:
    """The storm on a polar stereographic grid off Norway, with land in a corner."""
    result = saved().isel(window=[1]).copy(deep=True)
    y, x = np.arange(128) * -4e3 - 1.0e6, np.arange(128) * 4e3 - 2.9e6
    projection = {"units": "m"}
    result = result.assign_coords(
        y=("y", y, {"standard_name": "projection_y_coordinate", **projection}),
        x=("x", x, {"standard_name": "projection_x_coordinate", **projection}),
    )
    result["crs"] = (
        (),
        0,
        {
            "grid_mapping_name": "polar_stereographic",
            "straight_vertical_longitude_from_pole": 70.0,
            "latitude_of_projection_origin": 90.0,
            "standard_parallel": 60.0,
            "earth_radius": 6371e3,
        },
    )
    for name in ("rain", "u", "v", "u_steady", "v_steady", "rain_observed"):
        result[name].attrs["grid_mapping"] = "crs"
        if land:
            result[name] = result[name].where((result["x"] < -2.6e6) | (result["y"] > -1.3e6))
    # A patch that the radar does not see.
    result["rain_observed"] = result["rain_observed"].where((result["x"] > -2.8e6) | (result["y"] < -1.4e6))
    return result


@compared()
def test_arrows_over_rain():
    figure = canvas()
    saved().var4d.plot.motion(ax=figure.subplots())
    return bare(figure)


@compared()
def test_streamlines_over_rain():
    figure = canvas()
    saved().var4d.plot.motion(style="streamlines", ax=figure.subplots())
    return bare(figure)


@compared()
def test_colour_wheel():
    turning = saved().isel(window=[0]).copy(deep=True)
    y, x = np.meshgrid(np.linspace(1, -1, 128), np.linspace(-1, 1, 128), indexing="ij")
    turning["u_steady"][:], turning["v_steady"][:] = -y, x
    figure = canvas(4.2, 3.2)  # with room for the wheel
    turning.var4d.plot.motion(style="colours", fastest=1.4, ax=figure.add_axes((0.1, 0.1, 0.6, 0.8)))
    return bare(figure)


@compared()
def test_windows_in_facets():
    return bare(saved().var4d.plot.motion(col="window", size=2.2).fig)


@compared()
def test_map_with_land_and_an_unseen_patch():
    pytest.importorskip("cartopy")
    figure = on_a_map().var4d.plot.motion().figure
    figure.set_size_inches(4.0, 3.4)
    return bare(figure)


@compared()
def test_latitude_and_longitude_on_a_map_of_another_projection():
    crs = pytest.importorskip("cartopy.crs")
    result = saved().assign_coords(
        y=("y", np.linspace(62, 58, 128), {"units": "degrees_north"}),
        x=("x", np.linspace(-6, 6, 128), {"units": "degrees_east"}),
    )
    figure = canvas()
    result.var4d.plot.motion(ax=figure.add_subplot(projection=crs.Orthographic(40, 50)))
    return bare(figure)


@compared()
def test_temperature_under_arrows():
    figure = canvas()
    weak().var4d.plot.motion(ax=figure.subplots())
    return bare(figure)


@compared()
def test_residuals_by_frame():
    return bare(saved().var4d.plot.residual(size=1.8).fig)


@compared()
def test_innovation_of_a_frame():
    figure = canvas()
    saved().var4d.plot.innovation(step=0, ax=figure.subplots())
    return bare(figure)


@compared()
def test_increment():
    figure = canvas()
    saved().var4d.plot.increment(ax=figure.subplots())
    return bare(figure)


@compared()
def test_growth():
    figure = canvas()
    saved().var4d.plot.field("growth", ax=figure.subplots())
    return bare(figure)


@compared()
def test_forcing_in_time():
    return bare(weak().var4d.plot.forcing(size=1.8).fig)


@compared()
def test_cost():
    figure = canvas()
    saved().var4d.plot.cost(ax=figure.subplots())
    return bare(figure)


@compared()
def test_cost_history():
    """J and two terms, in two minimisations."""
    number, background = np.repeat([1, 2, 0], [8, 6, 4]), np.r_[np.arange(8) / 8, 1 + np.arange(6) / 6, [np.nan] * 4]
    observation = np.r_[4 * 0.7 ** np.arange(8), 9 * 0.8 ** np.arange(6), [np.nan] * 4]
    terms = {
        "cost_history": background + observation,
        "cost_history_background": background,
        "cost_history_observation": observation,
    }
    data = xr.Dataset(
        {name: (("window", "evaluation"), values[None]) for name, values in terms.items()},
        {"evaluation": np.arange(1, 19)},
    )
    data["minimisation"] = (("window", "evaluation"), number[None], {"flag_meanings": "none blocks_of_2 whole_grid"})
    figure = canvas()
    data.var4d.plot.cost_history(ax=figure.subplots())
    return bare(figure)


@compared()
def test_forecast_above_what_was_observed():
    return bare(forecast().var4d.plot.forecast(xvar.datasets.sample(), figure=canvas(7, 4.2, layout="compressed")))


@compared()
def test_skill_beside_persistence():
    figure = canvas()
    scores = forecast().var4d.verify(xvar.datasets.sample())
    scores.var4d.plot.skill(score="csi", ax=figure.subplots())
    return bare(figure)


@compared()
def test_a_frame_of_the_animation():
    figure = canvas(6, 2.8)
    film = saved().var4d.plot.animation(xvar.datasets.sample(), figure=figure)
    film._draw_frame(2)
    film._draw_was_started = True  # or matplotlib warns that nobody looked
    return bare(figure)
