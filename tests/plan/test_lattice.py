"""States on any grid through the public call: rings, levels over planes, numbers without a geometry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import xvar
from tests.core.covariance.operators import dense
from tests.core.linear import blue
from tests.core.numerics import random
from xvar.background import Cycled
from xvar.core.dynamics import State, trajectory
from xvar.core.grid import Grid
from xvar.covariance import Channels, Dense, Diagonal, Matern, Product
from xvar.errors import InputError, InputWarning
from xvar.minimize import LBFGS
from xvar.observation import Images

PRECISE: dict[str, Any] = {"dtype": "float64", "minimizer": LBFGS(max_evaluations=400, gtol=1e-12, ftol=0.0)}


def times(count: int, seconds: float) -> np.ndarray[Any, Any]:
    steps = np.round(np.arange(count) * seconds * 1e9).astype("timedelta64[ns]")
    return np.datetime64("2000-01-01", "ns") + steps


def turning(state: State, seconds: float) -> State:
    """A linear model: values move along the last axis by one point and lose a tenth."""
    return {key: 0.9 * values.roll(1, -1) + 0.05 * values for key, values in state.items()}


def sequence(shape: tuple[int, ...], dims: tuple[str, ...], frames: int = 4, **coords: Any) -> xr.Dataset:
    values = random((frames, *shape), 5).numpy()
    values[1:3][(..., slice(None, None, 2))] = np.nan
    known = {key: (key, part, {"units": "m"}) for key, part in coords.items()}
    return xr.Dataset({"c": (("time", *dims), values)}, {"time": times(frames, 60.0), **known})


RING = Matern(0.8, 3.0, 2, edges="periodic")
LEVELS = Product(Matern(1.0, 20.0, 2), Matern(0.8, 6e3))
CASES = {
    "ring": (sequence((12,), ("i",)), RING, Grid((12,), (1.0,))),
    "spaced": (sequence((12,), ("i",), i=np.arange(12) * 5.0), Matern(0.8, 12.0), Grid((12,), (5.0,))),
    "levels": (
        sequence((3, 4, 5), ("z", "y", "x"), z=np.arange(3) * 10.0, y=np.arange(4) * 2e3, x=np.arange(5) * 3e3),
        LEVELS,
        Grid((3, 4, 5), (10.0, 2e3, 3e3)),
    ),
    "numbers": (sequence((3,), ("number",)), Dense(np.eye(3) + 0.5), Grid((3,), (1.0,))),
    "index": (sequence((4, 6), ("a", "b")), Diagonal(0.7), Grid((4, 6), (1.0, 1.0))),
}


@pytest.mark.parametrize("name", CASES)
def test_analysis_is_the_best_linear_unbiased_estimate(name: str) -> None:
    data, error, grid = CASES[name]
    background = xr.zeros_like(data.isel(time=0, drop=True)) + 0.3
    stated: dict[str, Any] = {"background": background, "background_error": error, "observation_error": 0.4, **PRECISE}
    analysis = data.var4d.assimilate(dynamics=turning, **stated)
    assert analysis["c"].dims == ("window", "step", *data["c"].dims[1:])
    shape = (1, 1, *grid.shape)
    maps = [dense(lambda x, count=count: step(x, count), shape) for count in range(4)]
    seen = np.isfinite(data["c"].values.reshape(4, -1))
    operator = torch.cat([part[torch.from_numpy(mask)] for part, mask in zip(maps, seen, strict=True)])
    values = torch.from_numpy(data["c"].values.reshape(4, -1)[seen])[None]
    matrix = dense(error.bind(grid, dtype=torch.float64).apply, shape)
    mean = torch.full((1, grid.size), 0.3, dtype=torch.float64)
    exact, _ = blue(mean, matrix, operator, 0.16 * torch.eye(len(operator), dtype=torch.float64), values)
    for part, found in zip(maps, analysis["c"].values[0], strict=True):
        assert np.allclose(found.ravel(), (exact @ part.T)[0].numpy(), atol=1e-6)


def step(values: torch.Tensor, count: int) -> torch.Tensor:
    for _ in range(count):
        values = turning({"c": values}, 60.0)["c"]
    return values


def test_lazy_records_and_files_hold_the_same(tmp_path: Path) -> None:
    data, error, _ = CASES["levels"]
    stated: dict[str, Any] = {"background_error": error, "observation_error": 0.4, "window": 2, "dynamics": turning}
    background = xr.zeros_like(data.isel(time=0, drop=True))
    whole = data.var4d.assimilate(background=background, **stated)
    lazy = data.chunk(time=1, z=2).var4d.assimilate(background=background, **stated)
    assert lazy["c"].chunks is not None
    xr.testing.assert_identical(lazy.compute().drop_attrs(), whole.drop_attrs())
    xvar.run(data, tmp_path / "run.nc", background=background, **stated)
    stored = xr.open_dataset(tmp_path / "run.nc")
    assert np.array_equal(stored["c"].values, whole["c"].values)
    assert {"z", "y", "x"} <= set(stored["c"].dims)


def test_descending_levels_stay_as_they_are() -> None:
    """The order of an axis without a horizontal meaning is the order that the model sees."""
    data, error, _ = CASES["levels"]
    other = data.assign_coords(z=data["z"][::-1].values)
    background = xr.zeros_like(other.isel(time=0, drop=True))
    stated: dict[str, Any] = {"background_error": error, "observation_error": 0.4, "dynamics": turning}
    found = other.var4d.assimilate(background=background, **stated)
    before = data.var4d.assimilate(background=background.assign_coords(z=data["z"].values), **stated)
    assert np.array_equal(found["c"].values, before["c"].values)
    assert np.array_equal(found["z"].values, other["z"].values)


@pytest.mark.parametrize(
    ("model", "size", "frames", "every", "spread", "goal"),
    [(xvar.dynamics.Lorenz96(), 40, 160, 0.05, 0.25, 0.35), (xvar.dynamics.Lorenz63(), 3, 80, 0.1, 0.8, 0.6)],
)
def test_cycles_of_the_models_of_lorenz(
    model: Any, size: int, frames: int, every: float, spread: float, goal: float
) -> None:
    """Errors at the ends of windows are far below those of the observations; forecasts continue from the file."""
    start = {"x": 8 + random((1, 1, size), 1)}
    start = trajectory(model, start, [model.step] * int(20 / model.step))[-1]
    count = round(every / model.step)
    states = trajectory(model, start, [model.step] * (count * (frames - 1)))[::count]
    truth = np.stack([state["x"][0, 0].numpy() for state in states])
    values = truth + random(truth.shape, 2).numpy()
    data = xr.Dataset({"x": (("time", "i"), values)}, {"time": times(frames, every)})
    first = xr.Dataset({"x": ("i", truth[0] + random((size,), 3).numpy())})
    analysis = data.var4d.assimilate(
        dynamics=model,
        background=Cycled(first=first),
        background_error=Diagonal(spread),
        observation_error=1.0,
        window=8,
        dtype="float64",
    )
    error = analysis["x"].isel(step=-1).values - truth[7::8]
    assert float(np.sqrt((error[3:] ** 2).mean())) < goal
    forecast = analysis.isel(window=[-1]).var4d.forecast("500ms", dynamics=model)
    last = {"x": torch.from_numpy(analysis["x"].values[-1, -1])[None, None]}
    ahead = trajectory(model, last, [model.step] * int(0.5 / model.step))[-1]["x"][0, 0]
    assert np.allclose(forecast["x"].values[0, -1], ahead.numpy(), rtol=1e-8)


def test_check_describes_the_grid() -> None:
    data, error, _ = CASES["ring"]
    background = xr.zeros_like(data.isel(time=0, drop=True))
    found = data.var4d.check(dynamics=turning, background=background, background_error=error, observation_error=1.0)
    assert found.passed, found
    assert found.facts["grid"] == "12"


# ---- faults


@pytest.mark.parametrize(
    ("change", "options", "codes"),
    [
        ({}, {"land": "never_valid"}, ["option-misplaced"]),
        ({}, {"dx": 1.0}, ["option-misplaced"]),
        ({}, {"background": xr.Dataset({"c": ("j", np.zeros(12))})}, ["missing-dimension"]),
        ({}, {"background": xr.Dataset({"c": ("i", np.zeros(11))})}, ["other-size"]),
        ({}, {"background_error": Diagonal(torch.ones(11))}, ["std-shape"]),
        ({"i": "step"}, {}, ["name-taken", "missing-dimension"]),
    ],
)
def test_faults(change: dict[str, str], options: dict[str, Any], codes: list[str]) -> None:
    data, error, _ = CASES["ring"]
    background = xr.zeros_like(data.isel(time=0, drop=True))
    stated = {"background": background, "background_error": error, "observation_error": 1.0, **options}
    with pytest.raises(InputError) as caught:
        data.rename(change).var4d.assimilate(dynamics=turning, **stated)
    assert [fault.code for fault in caught.value.faults] == codes


@pytest.mark.parametrize("as_array", [True, False])
def test_a_variable_with_the_name_of_its_dimension(as_array: bool) -> None:
    array = xr.DataArray(np.zeros((4, 5, 6)), dims=("time", "y", "x"), coords={"time": times(4, 60.0)}, name="x")
    data = array if as_array else xr.Dataset({"x": (array.dims, array.values)}, {"time": array["time"]})
    with pytest.raises(InputError) as caught:
        data.var4d.assimilate(dynamics=turning)
    assert [fault.code for fault in caught.value.faults] == ["name-of-dimension"]


@pytest.mark.parametrize(
    ("model", "code"),
    [
        (lambda s, _: {"d": s["c"]}, "model-output"),
        (lambda s, _: {"c": s["c"][0, 0]}, "model-output"),
        (lambda s, _: {"c": s["c"].numpy()}, "model-output"),
        (lambda s, _: {"c": torch.from_numpy(2 * s["c"].numpy())}, "model-fails"),
        (lambda s, _: {"c": s["x"]}, "model-fails"),
        (lambda _s, _: None, "model-fails"),
        (lambda s, _: s["c"], "model-fails"),
    ],
)
def test_models_that_are_none(model: Any, code: str) -> None:
    data, error, _ = CASES["ring"]
    background = xr.zeros_like(data.isel(time=0, drop=True))
    with pytest.raises(InputError) as caught:
        data.var4d.assimilate(dynamics=model, background=background, background_error=error, observation_error=1.0)
    assert [fault.code for fault in caught.value.faults] == [code]


def test_priors_may_be_labelled_or_tensors() -> None:
    for prior in (2.0, np.float32(2.0), xr.DataArray(2.0), torch.tensor(2.0)):
        assert xvar.control.Parameter(prior, 1.0).prior == 2.0


def test_an_unseen_area_is_no_land() -> None:
    """With a model of one's own the state exists where no image sees it."""
    metres = {"units": "m"}
    coords = {"time": times(4, 60.0), "y": ("y", np.arange(5) * 1e3, metres), "x": ("x", np.arange(6) * 1e3, metres)}
    data = xr.Dataset({"c": (("time", "y", "x"), random((4, 5, 6), 2).numpy(), {"units": "1"})}, coords)
    data["c"][:, :, :2] = np.nan
    first = xr.full_like(data["c"][0], 0.5).drop_vars("time")
    background = xr.Dataset({"c": first, "d": first})
    stated: dict[str, Any] = {"background_error": {"c": Diagonal(1.0), "d": Diagonal(1.0)}, "observation_error": 0.5}
    with pytest.warns(InputWarning, match="never_valid"):
        analysis = data.var4d.assimilate(dynamics=turning, background=background, **stated)
    assert np.isfinite(analysis[["c", "d"]].to_array().values).all()


@pytest.mark.parametrize("name", ["ring", "levels"])
def test_operators_and_correlated_errors_on_any_grid(name: str) -> None:
    """Images beside the record, of an operator, a channel each and a number each, on a grid of any axes."""
    data, b, grid = CASES[name]
    dims, shape = data["c"].dims[1:], grid.shape
    noise = Matern(0.4, 3.0, 2, edges="periodic") if name == "ring" else LEVELS
    two = xr.concat([data["c"][:2] * 0 + 1.5, data["c"][:2] * 0 - 0.5], "channel").fillna(0.7).rename("two")
    sums = xr.DataArray(np.arange(2.0), {"time": data["time"][1:3]}, ("time",), "sums")
    axes, both_channels = tuple(range(-len(shape), 0)), Channels([[1.0, 0.3], [0.3, 1.0]], noise)
    given = {
        "two": Images(
            two, operator=lambda s: torch.cat([s["c"], 2 * s["c"]], 1), error=Channels([[1.0, 0.3], [0.3, 1.0]], noise)
        ),
        "sums": Images(sums, operator=lambda s: s["c"].sum(axes), error=0.3, coordinates="data"),
    }
    zero = xr.zeros_like(data[["c"]].isel(time=0, drop=True))
    options = {"dynamics": turning, "background": zero, "background_error": b, "observation_error": 0.2, **PRECISE}
    analysis = data.var4d.assimilate(**options, observation=given)
    size = int(np.prod(shape))
    steps = trajectory(turning, {"c": torch.eye(size, dtype=torch.float64).reshape(size, 1, *shape)}, (60.0,) * 3)
    moved = [state["c"].flatten(1).T for state in steps]
    rows, values = list(moved), [torch.from_numpy(data["c"].values).flatten()]
    both = torch.kron(torch.tensor([[1.0], [2.0]], dtype=torch.float64), torch.eye(size, dtype=torch.float64))
    rows += [both @ moved[index] for index in (0, 1)] + [moved[index].sum(0, keepdim=True) for index in (1, 2)]
    values += [
        torch.from_numpy(two.transpose("time", "channel", *dims).values).flatten(),
        torch.tensor([0.0, 1.0]).double(),
    ]
    operator, seen = torch.cat(rows), torch.cat(values)
    r = dense(both_channels.bind(grid, dtype=torch.float64).apply, (1, 2, *shape))
    error = torch.block_diag(0.04 * torch.eye(4 * size), r, r, 0.09 * torch.eye(2)).double()
    kept = seen.isfinite()
    h, error = operator[kept], error[kept][:, kept]
    prior = dense(b.bind(grid, dtype=torch.float64).apply, (1, 1, *shape))
    expected = prior @ h.T @ torch.linalg.solve(h @ prior @ h.T + error, seen[kept])
    np.testing.assert_allclose(analysis["c"][0, 0].values.ravel(), expected, rtol=0, atol=1e-6)
