"""The benchmarks judge what users get, not something like it."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy.ndimage")

from benchmarks import ablation, nowcast, twins


def test_what_is_ablated_is_the_forecast() -> None:
    event = nowcast.Event.load("meteonet-brest")
    windows = ablation.Windows(event, event.starts)
    variants = ablation.ablations()
    found = event.window(0).var4d.assimilate()
    for name, without in (
        ("defaults", ()),
        ("forecast without growth", "growth"),
        ("forecast without the limit of the power", "power_limit"),
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
