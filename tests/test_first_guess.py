"""Minimisations that begin at the solution of the window before: `first_guess=`."""

from __future__ import annotations

from typing import Any

import dask
import numpy as np
import pytest

import xvar
from tests.faults.codes import codes
from tests.records import drifting
from tests.runs.records import same
from xvar.errors import Faults, InputError
from xvar.plan.options import Options
from xvar.plan.windows import read_windows
from xvar.runs import Interrupted, Report

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def radar() -> Any:
    return xvar.datasets.sample().isel(y=slice(20, 84), x=slice(40, 104))


def test_a_window_begins_at_the_solution_of_the_window_before(radar) -> None:
    chain = radar.var4d.assimilate(stride=1, first_guess="previous_window")
    for last in range(5, 8):
        window = last - 4
        alone = radar.isel(time=slice(window, last)).var4d.assimilate(first_guess=chain.isel(window=[window - 1]))
        assert same(alone, chain.isel(window=[window])) == []


def test_it_saves_evaluations_and_finds_no_higher_minimum() -> None:
    radar = xvar.datasets.sample()
    cold = radar.var4d.assimilate(stride=1)
    warm = radar.var4d.assimilate(stride=1, first_guess="previous_window")
    assert same(cold.isel(window=[0]), warm.isel(window=[0])) == []  # nothing is before the first
    saved = warm["evaluations"][1:].sum() / cold["evaluations"][1:].sum()
    assert saved < 0.6
    assert warm["cost"][1:, 1].sum() < 1.002 * cold["cost"][1:, 1].sum()
    speed = np.hypot(cold["u_steady"], cold["v_steady"]).mean()
    assert np.hypot(warm["u_steady"] - cold["u_steady"], warm["v_steady"] - cold["v_steady"]).mean() < 0.05 * speed


def test_a_solution_that_is_worse_than_the_background_is_left(radar) -> None:
    """The window is solved from coarse grids, as without one."""
    record = radar.isel(time=slice(0, 4))
    cold = record.var4d.assimilate()
    wrong = cold.assign({name: 0 * cold[name] - 60.0 for name in ("u_steady", "v_steady")})
    wrong["growth"] = cold["growth"] + 3.0
    assert same(cold, record.var4d.assimilate(first_guess=wrong)) == []


def test_a_variable_without_growth_has_one_too() -> None:
    record = drifting(frames=6).rename(sst="moisture")
    record["moisture"].attrs = {"units": "1"}
    cold = record.var4d.assimilate(stride=1)
    warm = record.var4d.assimilate(stride=1, first_guess="previous_window")
    assert warm["evaluations"][1:].sum() < 0.7 * cold["evaluations"][1:].sum()
    assert float(abs(warm["u"] - 10).mean()) < 0.3
    assert float(abs(warm["v"] + 5).mean()) < 0.3


def test_chained_windows_overlap_and_a_gap_begins_a_new_chain() -> None:
    faults = Faults()
    options = Options.read({"window": 3, "stride": 1, "first_guess": "previous_window"}, faults)
    windows = read_windows(np.array([0.0, 1, 2, 3, 4, 20, 21, 22]), "time", options, faults)
    assert windows is not None
    schedule = windows.schedule
    assert schedule.frames.tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4], [5, 6, 7]]
    np.testing.assert_array_equal(schedule.elapsed, [np.nan, 1, 1, np.nan])


def test_a_run_is_resumed_with_the_same_bits(radar, tmp_path) -> None:
    options: dict[str, Any] = {"stride": 1, "first_guess": "previous_window", "batch": 1}

    def stop(report: Report) -> None:
        if report.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted), dask.config.set(scheduler="synchronous"):
        xvar.run(radar, tmp_path / "a.nc", **options, progress=stop)
    assert xvar.run(radar, tmp_path / "a.nc", **options).before == 2
    whole = radar.var4d.assimilate(**options)
    import xarray as xr

    with xr.open_dataset(tmp_path / "a.nc") as written:
        assert same(whole, written) == []


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"first_guess": "previous"}, "option-value"),
        ({"first_guess": "previous_window", "background": "cycled"}, "option-conflict"),
        ({"first_guess": "previous_window", "dynamics": "advection"}, "option-misplaced"),
        ({"first_guess": "without growth"}, "variable-missing"),
        ({"first_guess": "of another grid"}, "other-size"),
    ],
)
def test_a_first_guess_that_does_not_fit_is_refused(radar, options, code) -> None:
    analysis = radar.isel(time=slice(0, 4)).var4d.assimilate()
    others = {"without growth": analysis.drop_vars("growth"), "of another grid": analysis.isel(x=slice(1, None))}
    options["first_guess"] = others.get(options["first_guess"], options["first_guess"])
    if isinstance(options["first_guess"], str) and options["first_guess"] == "previous":
        with pytest.raises(InputError) as info:
            radar.var4d.assimilate(**options)
        assert "previous_window" in info.value.faults[0].fix
    with pytest.raises(InputError) as info:
        radar.var4d.assimilate(**options)
    assert code in codes(info.value)
