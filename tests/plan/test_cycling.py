"""What cycles carry on beside the state, and intervals of the model error that no output changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from tests.plan.test_lattice import times
from xvar.background import Cycled
from xvar.control import Parameter
from xvar.core.dynamics import State
from xvar.covariance import Diagonal
from xvar.dynamics import ModelError
from xvar.errors import AnalysisWarning, InputError
from xvar.minimize import LBFGS
from xvar.observation import Points

SIZE = 6


def drifting(state: State, seconds: float) -> State:
    """Values turn along the axis, and gain an unknown source."""
    return {"c": 0.9 * state["c"].roll(1, -1) + 0.01 * seconds * state["source"]}


def record(frames: int = 12) -> xr.Dataset:
    noise = np.random.default_rng(3)
    value, values = noise.standard_normal(SIZE), []
    for _ in range(frames):
        values.append(value)
        value = 0.9 * np.roll(value, 1) + 0.6 * 0.5
    data = np.array(values) + 0.1 * noise.standard_normal((frames, SIZE))
    return xr.Dataset({"c": (("time", "i"), data)}, {"time": times(frames, 60.0)})


def assimilate(data: xr.Dataset, **options: Any) -> xr.Dataset:
    stated: dict[str, Any] = {
        "dynamics": drifting,
        "background_error": Diagonal(0.5),
        "observation_error": 0.1,
        "dtype": "float64",
        "window": 4,
        "minimizer": LBFGS(max_evaluations=200, gtol=1e-10, ftol=0.0),
    }
    return data.var4d.assimilate(**(stated | options))


@pytest.mark.parametrize("positive", [False, True])
def test_parameters_are_carried_from_cycle_to_cycle(positive: bool) -> None:
    """The prior of a window is the estimate of the one before, which also moves the state between them."""
    data, first = record(), xr.Dataset({"c": ("i", np.zeros(SIZE))})
    parameter = Parameter(0.1, 0.3, positive=positive)
    cycled = assimilate(data, background=Cycled(first=first), parameters={"source": parameter})
    found = cycled["source"].values
    assert np.abs(found - 0.5).max() < 0.1
    last = cycled["c"].values[0, -1]
    forecast = 0.9 * np.roll(last, 1) + 0.6 * found[0]
    assert np.allclose(cycled["c_background"].values[1], forecast)
    alone = assimilate(
        data.isel(time=slice(4, 8)),
        background=xr.Dataset({"c": ("i", forecast)}),
        parameters={"source": Parameter(found[0], 0.3, positive=positive)},
    )
    assert alone["source"].values[0] == pytest.approx(found[1], abs=1e-6)
    lazy = assimilate(
        data.chunk(time=3), batch=1, background=Cycled(first=first), parameters={"source": parameter}
    ).compute()
    assert np.array_equal(lazy["source"].values, found)


def of_background(background: State) -> Diagonal:
    """An error that grows with the background."""
    return Diagonal(0.1 + 0.5 * background["c"].abs())


def test_the_error_of_a_background_may_depend_on_it() -> None:
    """In every cycle B is that of its own background; windows in a batch each have theirs."""
    data = record()
    first = xr.Dataset({"c": ("i", np.linspace(0, 2, SIZE))})
    options: dict[str, Any] = {"parameters": {"source": Parameter(0.5, 1e-3)}}
    cycled = assimilate(data, background=Cycled(first=first), background_error=of_background, **options)
    for window in range(3):
        start = cycled["c_background"].values[window]
        alone = assimilate(
            data.isel(time=slice(4 * window, 4 * window + 4)),
            background=xr.Dataset({"c": ("i", start)}),
            background_error=Diagonal(torch.tensor(0.1 + 0.5 * np.abs(start))),
            parameters={"source": Parameter(cycled["source"].values[window - 1] if window else 0.5, 1e-3)},
        )
        assert np.allclose(alone["c"].values[0], cycled["c"].values[window], atol=1e-6)
    batch = assimilate(data, background=first, background_error=of_background, stride=4, **options)
    stated = Diagonal(torch.tensor(0.1 + 0.5 * first["c"].values))
    expected = assimilate(data, background=first, background_error=stated, stride=4, **options)
    assert np.allclose(batch["c"].values, expected["c"].values, atol=1e-8)
    with pytest.raises(InputError) as caught:
        assimilate(data, background=first, background_error=3.0)
    assert [fault.code for fault in caught.value.faults] == ["covariance-type"]


# ---- intervals of the model error


def table() -> tuple[xr.Dataset, xr.Dataset]:
    """Points on a plane over an hour, and a background."""
    noise, count, start = np.random.default_rng(4), 40, np.datetime64("2000-01-01", "ns")
    metres = {"units": "m"}
    points = xr.Dataset(
        {
            "value": ("point", noise.standard_normal(count)),
            "std": ("point", np.full(count, 0.3)),
            "time": (
                "point",
                np.datetime64("2000-01-01", "ns") + np.linspace(0, 3600e9, count).astype("timedelta64[ns]"),
            ),
            "x": ("point", noise.uniform(0, 5e3, count), metres),
            "y": ("point", noise.uniform(0, 4e3, count), metres),
        }
    )
    coords = {"y": ("y", np.arange(5) * 1e3, metres), "x": ("x", np.arange(6) * 1e3, metres)}
    return points, xr.Dataset({"c": (("y", "x"), np.zeros((5, 6)))}, {**coords, "time": start})


class Decay:
    step = 300.0

    def __call__(self, state: State, seconds: float) -> State:
        return {"c": (1 - 1e-4 * seconds) * state["c"]}


def weak(every: str | None, interval: Any, **options: Any) -> xr.Dataset:
    points, start = table()
    stated: dict[str, Any] = {
        "dynamics": Decay(),
        "background": start,
        "background_error": Diagonal(1.0),
        "model_error": ModelError(Diagonal(0.01), interval),
        "constraint": "weak",
        "observation": Points(every=every),
        "dtype": "float64",
    }
    return points.var4d.assimilate(**(stated | options))


@pytest.mark.parametrize(("interval", "count"), [("interval", 1), ("window", 1), ("20min", 3), ("step", 12)])
def test_states_of_the_result_do_not_change_the_model_error(interval: str, count: int) -> None:
    few, many = weak(None, interval), weak("10min", interval)
    assert few.sizes["interval"] == many.sizes["interval"] == count
    assert np.allclose(few["cost"].values, many["cost"].values, rtol=1e-10)
    assert np.allclose(few["c"].values[0, -1], many["c"].values[0, -1], atol=1e-6)
    assert (abs(few["forcing_time"] - many["forcing_time"]) < np.timedelta64(1, "s")).all()


def test_a_duration_that_is_none_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        weak(None, "6 frames")
    assert [fault.code for fault in caught.value.faults] == ["duration-invalid"]


def test_a_strong_constraint_has_no_model_error_with_points_either() -> None:
    with pytest.raises(InputError) as caught:
        weak(None, "window", constraint="strong")
    assert [fault.code for fault in caught.value.faults] == ["model-error-with-strong-constraint"]


def test_increments_of_points_are_saved() -> None:
    analysis = weak(None, "window", save=("increment",))
    assert np.allclose(analysis["c_increment"].values[0], analysis["c"].values[0, 0])


def test_errors_that_are_far_too_small_are_reported() -> None:
    """A minimum that was found says nothing about B and R; 2 J over the number of observations does."""
    data, first = record(40), xr.Dataset({"c": ("i", np.full(SIZE, 5.0))})
    options: dict[str, Any] = {"background": Cycled(first=first), "parameters": {"source": Parameter(0.5, 0.1)}}
    assimilate(data, **options)
    with pytest.warns(AnalysisWarning, match="2 J / p is"):
        analysis = assimilate(data, background_error=Diagonal(1e-3), observation_error=0.01, **options)
    assert (analysis["status"] == 1).all()


def test_points_on_the_border_of_two_windows_count_once() -> None:
    """Two calls in turn use each point once if the second is half-open; the first has its beginning too."""
    points, start = table()
    points["time"][20] = start["time"].values + np.timedelta64(1800, "s")
    counts = []
    for begin, observation in ((0, Points()), (1800, Points(half_open=True)), (1800, Points())):
        later = start.assign_coords(time=start["time"] + np.timedelta64(begin, "s"))
        options: dict[str, Any] = {"background": later, "window": "30min", "observation": observation}
        analysis = points.var4d.assimilate(dynamics=Decay(), background_error=Diagonal(1.0), **options)
        counts.append(int(analysis["number_of_observations"].sum()))
    first, second, twice = counts
    assert first + second == 40
    assert twice == second + 1
