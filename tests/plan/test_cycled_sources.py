"""Cycled windows with observations beside the record, and with errors of calibration that are carried on."""

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
from tests.plan.test_cycling import SIZE
from tests.plan.test_lattice import PRECISE, step, times, turning
from xvar.background import Cycled
from xvar.control import Parameter
from xvar.covariance import Diagonal
from xvar.observation import Bias, Images, Points

NOISE, SPREAD = 0.3, 0.8


def record(frames: int = 9) -> xr.Dataset:
    values = np.random.default_rng(5).standard_normal((frames, SIZE))
    return xr.Dataset({"c": (("time", "i"), values)}, {"time": times(frames, 60.0)})


def assimilate(data: xr.Dataset, **options: Any) -> xr.Dataset:
    stated: dict[str, Any] = {
        "dynamics": turning,
        "background": Cycled(first=xr.Dataset({"c": ("i", np.zeros(SIZE))})),
        "background_error": Diagonal(SPREAD),
        "observation_error": NOISE,
        "window": 4,
        **PRECISE,
    }
    return data.var4d.assimilate(**(stated | options))


def as_points(images: xr.DataArray) -> xr.Dataset:
    return xr.Dataset({"value": images}).stack(report=("time", "i")).reset_index("report").dropna("report")


# ---- windows that overlap


@pytest.mark.parametrize("stride", [None, 1, 2, 3])
@pytest.mark.parametrize("kind", ["images", "points", "both"])
def test_each_observation_counts_once_wherever_it_is_stated(stride: int | None, kind: str) -> None:
    """Every second frame beside the record, in images, in a table or in both, gives what the whole record gives."""
    data = record()
    whole = assimilate(data, stride=stride)
    beside = data["c"].isel(time=slice(1, None, 2))
    left = data.copy(deep=True)
    left["c"][1::2] = np.nan
    given = {
        "images": {"more": Images(beside, error=NOISE)},
        "points": {"more": Points(as_points(beside), error=NOISE)},
        "both": {
            "more": Images(beside.where(beside["i"] < 2), error=NOISE),
            "most": Points(as_points(beside.where(beside["i"] >= 2)), error=NOISE),
        },
    }[kind]
    found = assimilate(left, stride=stride, observation=given)
    np.testing.assert_allclose(found["c"], whole["c"], rtol=0, atol=1e-6)
    counts = [one["number_of_observations"].values.tolist() for one in (found, whole)]
    assert counts[0] == counts[1]
    if kind == "points":
        assert (found["observation_quality"].values[: found["observation_window"].max().item() * SIZE] == 0).all()
        assert len(np.unique(found["observation_time"].values)) * SIZE == found.sizes["observation"]


def test_observations_between_frames_of_windows_that_overlap() -> None:
    """A window takes what is later than the last frame of the window before, up to its own last frame."""
    data = record(6)
    when = data["time"].values[0] + np.array([30, 90, 180, 210, 240, 290, 299], "timedelta64[s]")
    table = xr.Dataset({"value": ("p", np.ones(7)), "time": ("p", when), "i": ("p", np.arange(7) % SIZE)})
    found = assimilate(data, stride=1, observation=Points(table, error=NOISE))
    assert found.sizes["window"] == 3
    assert found["observation_window"].values.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert found["number_of_observations"].values.tolist() == [4 * SIZE + 3, SIZE + 2, SIZE + 2]


# ---- calibration


def exact(data: xr.Dataset, error: float, windows: list[slice]) -> tuple[list[torch.Tensor], list[float]]:
    """Best linear unbiased estimates of state and offset, each cycle from the state and offset of the one before."""
    mean, states, offsets = torch.zeros(1, SIZE + 1, dtype=torch.float64), list[torch.Tensor](), list[float]()
    prior = torch.diag(torch.tensor([SPREAD**2] * SIZE + [error**2], dtype=torch.float64))
    for number, window in enumerate(windows):
        values = torch.from_numpy(data["c"].values[window])
        count = len(values)
        maps = [dense(lambda x, k=k: step(x, k), (1, 1, SIZE)) for k in range(count)]
        operator = torch.cat([torch.cat([part, torch.ones(SIZE, 1, dtype=torch.float64)], dim=1) for part in maps])
        if number:
            mean = torch.cat([states[-1] @ dense(lambda x: step(x, 1), (1, 1, SIZE)).T, mean[:, -1:]], dim=1)
        noise = NOISE**2 * torch.eye(count * SIZE, dtype=torch.float64)
        mean, _ = blue(mean, prior, operator, noise, values.reshape(1, -1))
        offsets.append(float(mean[0, -1]))
        states.append(mean[:, :SIZE] @ maps[-1].T)
    return states, offsets


def test_an_offset_is_carried_from_cycle_to_cycle() -> None:
    """State and offset are those of linear algebra; the prior of a window is the estimate of the one before."""
    data = record(12) + 1.5
    offset = Images(offset=Parameter(0.0, 0.4), calibration="window")
    found = assimilate(data, observation=offset)
    states, offsets = exact(data, 0.4, [slice(0, 4), slice(4, 8), slice(8, 12)])
    np.testing.assert_allclose(found["offset"], offsets, rtol=0, atol=1e-6)
    for number, state in enumerate(states):
        np.testing.assert_allclose(found["c"].values[number, -1], state[0], rtol=0, atol=2e-6)
    assert abs(exact(data, 0.4, [slice(4, 8)])[1][0] - offsets[1]) > 1e-3  # without the cycle before


def test_biases_of_several_sources_are_carried_on(tmp_path: Path) -> None:
    """As in a call of its own with this prior; lazily, and in a run that is stored, with the same bits."""
    data = record(12)
    truth = data["c"]
    warm = truth + 0.5
    table = as_points(truth * 1.0)
    table["slant"] = ("report", np.linspace(-1, 1, table.sizes["report"]))
    table["value"] = table["value"] + 0.7 * table["slant"]

    def sources(offset: float, slope: float, gain: float) -> dict[str, Any]:
        return {
            "warm": Images(
                warm, error=NOISE, offset=Parameter(offset, 0.3), gain=Parameter(gain, 0.1), calibration="window"
            ),
            "ships": Points(table, error=NOISE, bias={"slant": Bias(slope, 0.3, predictor="slant")}),
        }

    whole = assimilate(data, observation=sources(0.0, 0.0, 1.0))
    names = ("warm_offset", "ships_bias_slant", "warm_gain")
    before = [float(whole[name][0]) for name in names]
    second = data.isel(time=slice(4, 8))
    alone = assimilate(
        second,
        background=whole[["c_background"]].isel(window=1, drop=True).rename(c_background="c"),
        observation=sources(*before),
    )
    for name in (*names, "c"):
        np.testing.assert_allclose(alone[name].values[0], whole[name].values[1], rtol=0, atol=1e-5)
    assert abs(float(whole["ships_bias_slant"][2]) - 0.7) < abs(float(whole["ships_bias_slant"][0]) - 0.7)
    lazy = assimilate(data.chunk(time=4), batch=1, observation=sources(0.0, 0.0, 1.0)).compute()
    xvar.run(
        data,
        tmp_path / "run.nc",
        dynamics=turning,
        background=Cycled(first=xr.Dataset({"c": ("i", np.zeros(SIZE))})),
        background_error=Diagonal(SPREAD),
        observation_error=NOISE,
        observation=sources(0.0, 0.0, 1.0),
        window=4,
        batch=1,
        **PRECISE,
    )
    stored = xr.open_dataset(tmp_path / "run.nc")
    for name in (*names, "c"):
        np.testing.assert_array_equal(lazy[name].values, whole[name].values)
        np.testing.assert_array_equal(stored[name].values, whole[name].values)


def test_offsets_of_each_image_keep_their_prior() -> None:
    data, images = record(8), Images(offset=Parameter(0.1, 0.4))
    whole = assimilate(data, observation=images)
    assert whole["offset"].dims == ("window", "step")
    background = whole[["c_background"]].isel(window=1, drop=True).rename(c_background="c")
    alone = assimilate(data.isel(time=slice(4, 8)), background=background, observation=images)
    np.testing.assert_allclose(alone["offset"].values[0], whole["offset"].values[1], rtol=0, atol=1e-6)


def test_an_ensemble_in_windows_that_overlap_has_points_and_a_bias() -> None:
    data = record(6)
    table = as_points(data["c"] + 1.0)
    found = assimilate(
        data,
        stride=1,
        observation=Points(table, error=NOISE, bias={"constant": Parameter(0.0, 0.5)}),
        ensemble=xvar.Ensemble(members=12, update="transform"),
    )
    assert found["number_of_observations"].values.tolist() == [8 * SIZE, 2 * SIZE, 2 * SIZE]
    assert np.abs(found["points_bias_constant"].values - 1).max() < 0.5
    assert np.isfinite(found["c_std"].values).all()
