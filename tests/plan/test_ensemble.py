"""Ensembles of assimilations through the public call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import xvar
from tests.core.covariance.operators import dense
from tests.core.numerics import random
from tests.plan.test_lattice import step, times, turning
from xvar.background import Cycled
from xvar.core.grid import Grid
from xvar.covariance import Diagonal, Matern
from xvar.dynamics import ModelError
from xvar.errors import InputError
from xvar.minimize import LBFGS

SIZE, FRAMES, NOISE = 8, 12, 0.5
ERROR = Matern(0.8, 2.0, 2, edges="periodic")
GRID = Grid((SIZE,), (1.0,))


def record(frames: int = FRAMES, seed: int = 5) -> xr.Dataset:
    return xr.Dataset({"c": (("time", "i"), random((frames, SIZE), seed).numpy())}, {"time": times(frames, 60.0)})


def assimilate(data: xr.Dataset, **options: Any) -> xr.Dataset:
    stated: dict[str, Any] = {
        "dynamics": turning,
        "background": xr.Dataset({"c": ("i", np.zeros(SIZE))}),
        "background_error": ERROR,
        "observation_error": NOISE,
        "dtype": "float64",
        "window": 4,
        "minimizer": LBFGS(max_evaluations=200, gtol=1e-10, ftol=0.0),
    }
    return data.var4d.assimilate(**(stated | options))


def kalman(covariance: torch.Tensor, frames: int = 4) -> list[torch.Tensor]:
    """Covariances of the analysis at all frames of a window that is observed everywhere, by linear algebra."""
    shape = (1, 1, SIZE)
    maps = [dense(lambda x, count=count: step(x, count), shape) for count in range(frames)]
    precision = torch.linalg.inv(covariance) + sum(part.T @ part for part in maps) / NOISE**2
    analysis = torch.linalg.inv(precision)
    return [part @ analysis @ part.T for part in maps]


def static() -> torch.Tensor:
    return dense(ERROR.bind(GRID, dtype=torch.float64).apply, (1, 1, SIZE))


def covariance_of(samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(np.cov(samples.reshape(len(samples), -1).T))


# ---- linear models and Gaussian errors: exact


@pytest.mark.parametrize("update", ["perturbed", "transform"])
def test_members_are_distributed_as_the_error_of_the_analysis(update: str) -> None:
    """At every frame, within the sampling error of 1500 members; their mean is the analysis without perturbation."""
    analysis = assimilate(
        record(4),
        ensemble=xvar.Ensemble(members=1500, update=update),
        save=("samples",),  # type: ignore[arg-type]
    )
    plain = assimilate(record(4))
    assert np.allclose(analysis["c"].values, plain["c"].values, atol=1e-8)
    for index, exact in enumerate(kalman(static())):
        samples = analysis["c_samples"].values[0, :, index]
        found, size = covariance_of(samples), exact.diagonal().max()
        assert np.abs(found - exact.numpy()).max() < 6 * float(size) / np.sqrt(1500 / 2)
        assert np.allclose(samples.mean(0), analysis["c"].values[0, index], atol=1e-8)
        assert np.allclose(analysis["c_std"].values[0, index], samples.std(0, ddof=1))
        expected = exact.diagonal().sqrt().numpy()
        assert np.abs(analysis["c_std"].values[0, index] / expected - 1).max() < 6 / np.sqrt(2 * 1500)


@pytest.mark.parametrize("weight", [1.0, 0.7])
def test_the_transform_is_exact_for_the_covariance_of_its_members(weight: float) -> None:
    """In the second of two cycled windows B is the covariance of the members before, and A that of those after."""
    options: dict[str, Any] = {"ensemble": xvar.Ensemble(members=30, update="transform", weight=weight, inflation=1.1)}
    background = Cycled(first=xr.Dataset({"c": ("i", np.zeros(SIZE))}))
    analysis = assimilate(record(8), background=background, save=("samples",), **options)
    before = analysis["c_members"].values[0]
    assert np.array_equal(before, analysis["c_samples"].values[0, :, -1])
    moved = step(torch.from_numpy(before)[:, None], 1)[:, 0].numpy()
    sample = torch.from_numpy(covariance_of(moved))
    if weight == 1:
        exact = 1.1**2 * kalman(sample)[0]
        found = covariance_of(analysis["c_samples"].values[1, :, 0])
        assert np.abs(found - exact.numpy()).max() < 1e-4 * float(exact.diagonal().max())
    shape = (1, 1, SIZE)
    error = weight * sample + (1 - weight) * static()
    maps = [dense(lambda x, count=count: step(x, count), shape) for count in range(4)]
    first = step(torch.from_numpy(analysis["c"].values[0, -1])[None, None], 1)[0, 0]
    values = torch.from_numpy(record(8)["c"].values[4:])
    gradient = sum(part.T @ (y - part @ first) for part, y in zip(maps, values, strict=True)) / NOISE**2
    expected = first + kalman(error)[0] @ gradient
    assert np.allclose(analysis["c"].values[1, 0], expected.numpy(), atol=1e-6)


def test_model_error_of_a_weak_constraint_is_perturbed() -> None:
    """The spread of the forcing, of which little is observed, is that of Q."""
    data = record(4)
    data["c"][:] = np.nan
    data["c"][0, 0] = 0.0
    q = ModelError(Diagonal(0.1), "interval")
    stated: dict[str, Any] = {"constraint": "weak", "model_error": q, "save": ("samples",)}
    analysis = assimilate(data, ensemble=xvar.Ensemble(members=2000), **stated)
    assert analysis["c_forcing_samples"].dims == ("window", "member", "interval", "i")
    found = analysis["c_forcing_std"].values
    assert np.abs(found * np.sqrt(60.0) / 0.1 - 1).max() < 6 / np.sqrt(2 * 2000)


def test_members_of_cycled_windows_have_model_error() -> None:
    """Without observations the variance grows by T Q in a cycle, as B = M B M^T + T Q."""
    data = record(8)
    data["c"][:] = np.nan
    data["c"][0, 0] = 0.0
    background = Cycled(first=xr.Dataset({"c": ("i", np.zeros(SIZE))}))
    options: dict[str, Any] = {"ensemble": xvar.Ensemble(members=1000), "model_error": Diagonal(0.05)}
    options["minimizer"] = LBFGS(max_evaluations=20, gtol=1e-6)
    analysis = assimilate(data, background=background, observation_error=1e3, **options)
    to = dense(lambda x: step(x, 4), (1, 1, SIZE))
    expected = (to @ static() @ to.T).diagonal() + 240 * 0.05**2
    found = analysis["c_std"].values[1, 0] ** 2
    assert np.abs(found / expected.numpy() - 1).max() < 6 / np.sqrt(1000 / 2)


def test_overlapping_windows_are_a_fixed_lag_smoother() -> None:
    """Each begins from the analysis within the window before, and observes the frames that are new."""
    background = Cycled(first=xr.Dataset({"c": ("i", np.zeros(SIZE))}))
    options: dict[str, Any] = {"ensemble": xvar.Ensemble(members=30, update="transform"), "stride": 1}
    analysis = assimilate(record(6), background=background, **options)
    assert analysis.sizes["window"] == 3
    assert analysis["number_of_observations"].values.tolist() == [4 * SIZE, SIZE, SIZE]
    first, sample = analysis["c"].values[0, 1], torch.from_numpy(covariance_of(analysis["c_members"].values[0]))
    assert np.array_equal(analysis["c_background"].values[1], first)
    to = dense(lambda x: step(x, 3), (1, 1, SIZE))
    gain = sample @ to.T @ torch.linalg.inv(to @ sample @ to.T + NOISE**2 * torch.eye(SIZE, dtype=torch.float64))
    mean = torch.from_numpy(first)
    exact = mean + gain @ (torch.from_numpy(record(6)["c"].values[4]) - to @ mean)
    assert np.allclose(analysis["c"].values[1, 0], exact.numpy(), atol=1e-6)


# ---- bits


def same(one: xr.Dataset, other: xr.Dataset) -> list[str]:
    return [str(name) for name in one.data_vars if not np.array_equal(one[name].values, other[name].values, True)]


@pytest.mark.parametrize(("update", "dtype"), [("perturbed", "float32"), ("transform", "float64")])
def test_lazy_alone_and_in_a_batch_it_has_the_same_bits(update: str, dtype: str) -> None:
    ensemble = xvar.Ensemble(members=5, update=update, localisation=2.0, weight=0.8, seed=3)  # type: ignore[arg-type]
    options: dict[str, Any] = {"ensemble": ensemble, "save": ("samples",), "dtype": dtype, "stride": 4}
    data = record()
    whole = assimilate(data, **options)
    lazy = assimilate(data.chunk(time=3), batch=1, **options)
    assert lazy["c_samples"].chunks is not None
    assert same(lazy.compute(), whole) == []
    alone = assimilate(data.isel(time=slice(4, 8)), **options)
    assert same(alone, whole.isel(window=[1])) == []
    other = assimilate(data, **(options | {"ensemble": xvar.Ensemble(members=5, update=update, seed=4)}))  # type: ignore[arg-type]
    assert not np.array_equal(other["c_samples"].values, whole["c_samples"].values)


@pytest.mark.parametrize("stride", [None, 2])
def test_cycled_ensembles_are_resumed_with_the_same_bits(tmp_path: Path, stride: int | None) -> None:
    background = Cycled(first=xr.Dataset({"c": ("i", np.zeros(SIZE))}))
    options: dict[str, Any] = {
        "dynamics": turning,
        "background": background,
        "background_error": ERROR,
        "observation_error": NOISE,
        "window": 4,
        "stride": stride,
        "ensemble": xvar.Ensemble(members=4, localisation=2.0),
    }
    data = record()
    whole = data.var4d.assimilate(**options)
    lazy = data.chunk(time=2).var4d.assimilate(batch=1, **options).compute()
    assert same(lazy, whole) == []
    xvar.run(data, tmp_path / "run.nc", batch=1, **options)
    stored = xr.open_dataset(tmp_path / "run.nc")
    assert same(whole, stored) == []
    assert stored["c_members"].dims == ("window", "member", "i")
    assert "standard error" in stored["c_std"].attrs["long_name"]
    assert stored["c_std"].attrs["number_of_members"] == 4


# ---- faults


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"members": 1}, "ensemble-of-assimilations"),
        ({"weight": 0.0}, "ensemble-of-assimilations"),
        ({"localisation": -1.0}, "ensemble-of-assimilations"),
        ({"inflation": 0.0}, "number-not-positive"),
        ({"update": "other"}, "unknown-choice"),
    ],
)
def test_numbers_out_of_range(options: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as caught:
        xvar.Ensemble(**options)
    assert [fault.code for fault in caught.value.faults] == [code]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"ensemble": 20}, "ensemble-type"),
        ({"uncertainty": "posterior"}, "option-with-ensemble"),
        ({"save": ("cost_history",)}, "option-with-ensemble"),
    ],
)
def test_options_that_exclude_an_ensemble(options: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as caught:
        assimilate(record(), **({"ensemble": xvar.Ensemble()} | options))
    assert [fault.code for fault in caught.value.faults] == [code]
