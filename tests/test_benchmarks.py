"""The benchmarks judge what users get, not something like it."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy.ndimage")

from benchmarks import ablation, ensembles, gpu, learning, longer, nowcast, twins


def test_what_is_ablated_is_the_forecast() -> None:
    event = nowcast.Event.load("meteonet-brest")
    windows = ablation.Windows(event, event.starts)
    variants = ablation.ablations()
    found = event.window(0).var4d.assimilate()
    for name, without in (
        ("defaults", ()),
        ("forecast without growth", "growth"),
        ("forecast without the limit of the power", "power_limit"),
        ("forecast without restored short waves", "short_waves"),
        ("forecast without the transient motion", "transient"),
        ("forecast with none of the three", ("transient", "growth")),
    ):
        expected = found.var4d.forecast("15min", without=without)["rain"][0].transpose("lead_time", "y", "x").values
        np.testing.assert_allclose(windows.forecast(variants[name])[0], expected * event.factor, atol=1e-4)
    scores = nowcast.pooled(windows.contributions(windows.forecast(variants["defaults"])))
    assert (scores[:, 0] < 0.6 * nowcast.pooled(windows.persistence())[:, 0]).all()


def test_a_number_that_is_changed_is_changed_in_analysis_and_forecast() -> None:
    whole = ablation.default()
    longer = ablation.changed(whole, "transient.source_lifetime", 2.0)
    assert longer.motion.transient.source_lifetime == 2 * whole.motion.transient.source_lifetime
    assert longer.nowcast.source == 2 * whole.nowcast.source
    assert longer.nowcast.source == longer.motion.transient.source_lifetime
    assert ablation.changed(whole, "steady.gradient", 0.5).motion.steady.gradient == 125
    assert len(ablation.sensitivities()) == 2 * len(ablation.NUMBERS) - 1 + 4 + 1


@pytest.mark.parametrize("name", ["translation, 2 px", "rotation, 0.05 a frame"])
def test_twins_move_as_they_are_said_to(monkeypatch, name) -> None:
    """The first image, read where the true motion has it come from, is the last."""
    from scipy.ndimage import map_coordinates

    monkeypatch.setattr(twins, "SIZE", 64)
    rain = twins.rain_of(name, 0)["rain"]
    assert rain.dims == ("time", "y", "x")
    centred = np.arange(64) - 31.5
    place = np.stack(np.meshgrid(centred, centred))
    for _ in range(300):  # three frames in small steps
        place = place - np.stack(twins.MOTIONS[name](*place)) / 100
    came = map_coordinates(np.sqrt(rain.values[0]), place[::-1] + 31.5, order=1)
    difference, kept = (np.sqrt(rain.values[3]) - field for field in (came, np.sqrt(rain.values[0])))
    inner = slice(16, -16)
    assert difference[inner, inner].std() < 0.4 * kept[inner, inner].std()


def test_a_method_of_fewer_windows_is_compared_on_those() -> None:
    random = np.random.default_rng(0)
    shape = (longer.WINDOWS, len(longer.LEADS), len(longer.SCORES) + 4, 2)
    whole = {name: random.uniform(1, 2, shape) for name in ("persistence", "xvar", longer.STEPS)}
    parts = {"event": {**whole, longer.STEPS: whole[longer.STEPS][::2]}}
    for name in ("xvar", longer.STEPS):
        rmse, kept = (
            whole[one][::2, :, 0, 0].sum(0) / whole[one][::2, :, 0, 1].sum(0) for one in (name, "persistence")
        )
        np.testing.assert_allclose(longer.scores(parts, name, 2)[:, 0], rmse / kept)
        error, reference = np.moveaxis(whole[name][::2, :, 1].sum(0), -1, 0)
        np.testing.assert_allclose(longer.scores(parts, name, 2)[:, 1], 1 - error / reference)


def test_scores_of_ensembles_are_those_of_the_library() -> None:
    """With ties: values in tenths, half of them zero."""
    import xarray as xr
    from scores.probability import crps_for_ensemble, rank_histogram

    random = np.random.default_rng(5)
    members = np.round(np.abs(random.normal(size=(20, 500))), 1) * (random.random((20, 500)) > 0.5)
    observed = np.round(np.abs(random.normal(size=500)), 1)
    observed[:50], members[:, :50] = 0, 0  # all equal: no rank
    labelled, truth = xr.DataArray(members, dims=("member", "pixel")), xr.DataArray(observed, dims="pixel")
    for own, method in zip(ensembles.crps(members, observed), ("ecdf", "fair"), strict=True):
        theirs = crps_for_ensemble(labelled, truth, "member", method=method)
        np.testing.assert_allclose(own.mean(), float(theirs), rtol=1e-12)
    theirs = rank_histogram(labelled[:, 50:], truth[50:], "member")
    np.testing.assert_allclose(ensembles.ranks(members, observed) / 450, theirs, atol=1e-12)


def test_a_reliable_ensemble_has_the_spread_of_its_error_and_the_chances_of_steps() -> None:
    """Truth and members of one distribution; the reference has half of the spread."""
    random, windows = np.random.default_rng(6), []
    power = {"power": np.ones(4), "observed power": np.ones(4)}
    for _ in range(4):
        observed, members = random.gamma(2.0, size=2000), random.gamma(2.0, size=(ensembles.MEMBERS, 2000))
        still = np.full(2000, 2.0)
        narrow = 2 + (members - 2) / 2
        found = {ensembles.OWN: members, ensembles.STEPS: narrow}
        windows.append(
            {"sums": {name: [{**ensembles.sums(one, observed, still, still), **power}] for name, one in found.items()}}
        )
    own = ensembles.compared(windows, ensembles.OWN)
    assert own["spread"][0] == pytest.approx(1.0, abs=0.05)
    assert own["reliability"][0] < 0.1
    assert ensembles.compared(windows, ensembles.STEPS)["spread"][0] == pytest.approx(0.5, abs=0.03)
    assert own["crps over STEPS"][0] < 0.98
    low, high = ensembles.intervals({"event": windows}, ensembles.OWN)["crps over STEPS"][:, 0]
    assert low < own["crps over STEPS"][0] < high


def test_the_table_of_learning_has_the_share_of_the_gap() -> None:
    names = ("analysis", "forecast", "from exact states")
    row = {
        model: dict.fromkeys(names, error) for model, error in (("without", 4.0), ("learned", 1.3), ("perfect", 1.0))
    }
    assert learning.table({"lorenz": [row]}).splitlines()[-1].endswith("| 4.000 | 1.300 | 1.000 | 90.0 % |")
    generator = np.random.default_rng(0)
    low, high = learning.interval(0.5 + generator.standard_normal(200))
    assert low < 0.5 < high
    assert high - low == pytest.approx(2 * 1.96 / 200**0.5, rel=0.3)
    truth, observed = learning.twin(50, 0)
    assert float((observed - truth)["x"].std()) == pytest.approx(1.0, rel=0.05)


def test_waits_are_counted_without_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "COUNTED", 48)
    rows = [gpu.waits(kind) for kind in ("rain", "sea")]
    assert all(0.9 < row["waits"] <= 1.0 for row in rows)
    assert gpu.table(rows).count("counted on the processor") == 2
    assert gpu.record(32, 3)["rain"].shape == (12, 32, 32)
