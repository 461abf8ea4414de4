"""Pictures of ensembles: their elements and values."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

pytest.importorskip("matplotlib")

from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

import xvar
from tests.faults.codes import codes
from tests.records import analysis
from xvar.cli import application
from xvar.errors import InputError

RATE = 0.12  # mm/h, unit of the sample's rain


@functools.lru_cache
def ensemble() -> xr.Dataset:
    return analysis().isel(window=[0]).var4d.forecast("15min", members=5, seed=3)


@functools.lru_cache
def scores() -> xr.Dataset:
    return ensemble().var4d.verify(xvar.datasets.sample())


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


def images(panel) -> list[np.ndarray]:
    meshes = [child for child in panel.get_children() if isinstance(child, QuadMesh)]
    return [np.ma.filled(mesh.get_array(), np.nan).reshape(128, 128) for mesh in meshes]


def shares(above: float) -> np.ndarray:
    return (ensemble()["rain"].values[0] * RATE >= above).mean(axis=0)


def band(collection) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and the upper edge of a filled band."""
    vertices = collection.get_paths()[0].vertices
    times = np.unique(vertices[:, 0])
    values = [vertices[vertices[:, 0] == time, 1] for time in times]
    return np.array([part.min() for part in values]), np.array([part.max() for part in values])


def test_a_fan_at_a_point_has_the_quantiles_of_the_members_there(ax) -> None:
    radar, forecast = xvar.datasets.sample(), ensemble()
    y, x = (float(radar[dim][index]) for dim, index in (("y", 40), ("x", 70)))
    forecast.var4d.plot.fan(radar, point=(y + 100, x - 100), ax=ax)
    there = forecast["rain"].values[0, :, :, 40, 70] * RATE
    for collection, levels in zip(ax.collections, ((0.05, 0.95), (0.25, 0.75)), strict=True):
        np.testing.assert_allclose(band(collection), np.quantile(there, levels, axis=0), rtol=1e-5)
    median, observed = ax.lines
    np.testing.assert_array_equal(median.get_xdata(), [5, 10, 15])
    np.testing.assert_allclose(median.get_ydata(), np.median(there, axis=0), rtol=1e-5)
    np.testing.assert_allclose(observed.get_ydata(), radar["rain"].values[4:7, 40, 70] * RATE, rtol=1e-5)
    assert "mm h" in ax.get_ylabel()


def test_a_fan_of_the_area_is_over_the_points_that_are_known_and_observed(ax) -> None:
    radar, forecast = xvar.datasets.sample(), ensemble().copy(deep=True)
    radar["rain"][:, :64] = np.nan
    radar["rain"][6] = np.nan  # no truth at the last lead time: all known points count
    forecast["rain"][0, 2, :, :, :32] = np.nan
    forecast.var4d.plot.fan(radar, ax=ax)
    rain = forecast["rain"].values[0] * RATE
    half = np.median(rain[:, :2, 64:, 32:].mean((-2, -1)), axis=0)
    whole = np.median(rain[:, 2:, :, 32:].mean((-2, -1)), axis=0)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [*half, *whole], rtol=1e-4)
    truth = radar["rain"].values[4:6, 64:, 32:].mean((-2, -1)) * RATE
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [*truth, np.nan], rtol=1e-4)


def test_a_fan_of_accumulations_is_in_millimetres(ax) -> None:
    amount = ensemble().var4d.accumulation()
    amount.var4d.plot.fan(ax=ax)
    assert ax.get_ylabel().endswith("(mm)")
    mean = amount["rain_accumulation"].values[0].mean((-2, -1))
    np.testing.assert_allclose(ax.lines[0].get_ydata(), np.median(mean, axis=0), rtol=1e-5)


def test_maps_of_probability_have_the_share_of_members() -> None:
    grid = ensemble().var4d.plot.probability(above=5)
    for panel, share, lead in zip(grid.axs.flat, shares(5), (5, 10, 15), strict=True):
        np.testing.assert_allclose(images(panel)[0], share, atol=1e-6)
        assert panel.get_title() == f"+{lead} min"
    assert "5" in grid.fig.get_suptitle()
    ax = ensemble().var4d.plot.probability(above=1, lead_time=0)
    np.testing.assert_allclose(images(ax)[0], shares(1)[0], atol=1e-6)


def test_stamps_are_the_members_at_one_lead_time() -> None:
    grid = ensemble().var4d.plot.stamps(lead_time=1)
    for member, panel in enumerate(ax for ax in grid.axs.flat if ax.get_visible()):
        assert panel.get_title() == f"member {member}"
        np.testing.assert_allclose(images(panel)[0], ensemble()["rain"].values[0, member, 1] * RATE, rtol=1e-6)
    assert member == 4
    assert "+10 min" in grid.fig.get_suptitle()


def test_the_rank_histogram_at_three_lead_times_beside_a_flat_one(ax) -> None:
    scores().var4d.plot.rank_histogram(ax=ax)
    drawn = [patch.get_data() for patch in ax.patches]
    np.testing.assert_allclose([data.values for data in drawn], scores()["rank_histogram"].values)
    np.testing.assert_array_equal(drawn[0].edges, np.arange(7) - 0.5)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 1 / 6)


def test_reliability_of_each_threshold_with_the_number_of_forecasts(ax) -> None:
    scores().var4d.plot.reliability(lead_time=0, ax=ax)
    one = scores().isel(lead_time=0)
    for number, line in enumerate(ax.lines[:3]):
        np.testing.assert_array_equal(line.get_xdata(), np.arange(6) / 5)
        np.testing.assert_array_equal(line.get_ydata(), one["observed_frequency"].isel(threshold=number))
    (counts,) = ax.child_axes
    total = [np.nansum(patch.get_data().values) for patch in counts.patches]
    np.testing.assert_array_equal(total, float(one["number_of_pairs"]))


def test_spread_beside_the_error_of_the_ensemble_mean(ax) -> None:
    scores().var4d.plot.skill(score="spread", ax=ax)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), scores()["spread"])
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), scores()["rmse"])
    with pytest.raises(InputError) as error:
        scores().var4d.plot.skill(score="rank_histogram")
    assert codes(error.value) == ["unknown-score"]


def test_a_film_of_the_probability_beside_what_was_observed() -> None:
    figure = Figure()
    film = ensemble().var4d.plot.animation(xvar.datasets.sample(), above=1, figure=figure)
    film._draw_frame(2)
    film._draw_was_started = True  # or matplotlib warns that it was not shown
    known = ensemble()["origin"].values[0, 2] == 0
    (observed,), (chance,) = (images(panel) for panel in figure.axes[:2])
    np.testing.assert_allclose(observed, xvar.datasets.sample()["rain"][6] * RATE, rtol=1e-6)
    np.testing.assert_allclose(chance, np.where(known, shares(1)[2], np.nan), atol=1e-6)
    assert len(figure.axes) == 4  # a colour bar each


def test_the_page_shows_the_probability_that_is_chosen() -> None:
    pytest.importorskip("bokeh")
    from bokeh.document import Document

    from xvar.plot.page import view

    document = Document()
    view(analysis().isel(window=[0]), xvar.datasets.sample(), members=5)(document)
    time, event, label = (document.select_one({"name": name}) for name in ("time", "event", "label of event"))
    plane = document.select_one({"name": "analysis and forecast"})
    rain, chance = plane.select({"name": "rain"}), plane.select({"name": "probability"})
    assert (rain[0].visible, chance[0].visible) == (True, False)
    time.value, event.value = 5, 4
    assert label.text == "probability of 1 mm h⁻¹ or more"
    assert (rain[0].visible, chance[0].visible) == (False, True)
    values = chance[0].data_source.data["values"][0][::-1]
    members = analysis().isel(window=[0]).var4d.forecast("15min", members=5)
    share = (members["rain"].values[0, :, 1] * RATE >= 1).mean(axis=0)
    np.testing.assert_allclose(values, np.where(members["origin"].values[0, 1] == 0, share, np.nan), atol=1e-6)
    time.value = 0  # of the analysis: it rains so much or not
    assert set(np.unique(chance[0].data_source.data["values"][0])) == {0, 1}
    event.value = 0
    assert label.text == "probability: off"
    assert (rain[0].visible, chance[0].visible) == (True, False)
    with pytest.raises(InputError) as error:
        view(analysis(), members=1)
    assert codes(error.value) == ["members-invalid"]


@pytest.mark.parametrize(
    ("data", "picture", "options", "code"),
    [
        (analysis, "fan", {}, "not-a-forecast"),
        (lambda: ensemble().isel(member=0), "fan", {}, "members-missing"),
        (lambda: ensemble().isel(member=0), "stamps", {}, "members-missing"),
        (lambda: ensemble().isel(member=0), "animation", {"above": 1}, "members-missing"),
        (ensemble, "fan", {"point": (0.0, 1e9)}, "point-outside-the-grid"),
        (ensemble, "fan", {"window": 3}, "index-out-of-range"),
        (ensemble, "stamps", {"lead_time": 3}, "index-out-of-range"),
        (ensemble, "probability", {"above": "much"}, "thresholds-invalid"),
        (analysis, "rank_histogram", {}, "unknown-score"),
        (analysis, "reliability", {}, "unknown-score"),
        (scores, "reliability", {"lead_time": 3}, "index-out-of-range"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_refused(data, picture: str, options: dict[str, object], code: str) -> None:
    with pytest.raises(InputError) as error:
        getattr(data().var4d.plot, picture)(**options)
    assert codes(error.value) == [code]


@pytest.mark.long
def test_all_pictures_from_the_shell(tmp_path, monkeypatch) -> None:
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    monkeypatch.chdir(tmp_path)
    ensemble().to_netcdf("ensemble.nc")
    scores().to_netcdf("scores.nc")
    xvar.datasets.sample().to_netcdf("radar.nc")
    y, x = (float(ensemble()[dim][5]) for dim in "yx")
    for words in (
        f"plot ensemble.nc radar.nc -o fan.png --kind fan --point {y} {x}",
        "plot ensemble.nc -o probability.png --kind probability --above 5",
        "plot ensemble.nc -o stamps.png --kind stamps --lead-time 0",
        "plot scores.nc -o ranks.png --kind rank_histogram",
        "plot scores.nc -o reliability.png --kind reliability --lead-time 1",
        "plot scores.nc -o spread.png --kind skill --score spread",
        "animate ensemble.nc radar.nc -o film.gif --above 1",
        "animate ensemble.nc radar.nc -o member.gif --member 4",
    ):
        done = CliRunner().invoke(application, words.split())
        assert done.exit_code == 0, done.output
        pyplot.close("all")
    done = CliRunner().invoke(application, ["plot", "ensemble.nc", "-o", "a.png", "--kind", "stamps", "--above", "1"])
    assert done.exit_code == 2
    assert "--window, --lead-time" in done.output
