"""Diagnostics of errors: of a linear problem with known statistics, and of what a file holds."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from typer.testing import CliRunner

import xvar
from tests.cf.strict import strict_cf
from tests.faults.codes import codes
from tests.plan.test_points import background as state
from tests.plan.test_points import points, still
from xvar.cli.application import application
from xvar.core.grid import Grid
from xvar.covariance import Diagonal, Matern
from xvar.errors import InputError
from xvar.minimize import LBFGS

SIDE, WINDOWS, FRAMES, STD = 12, 40, 3, 0.5
B = Matern(1.0, 3e3)
ROOT = B.bind(Grid((SIDE, SIDE), (1e3, 1e3)), dtype=torch.float64)
SAVED = ("innovation", "residual")


def steady(fields: dict[str, torch.Tensor], seconds: float) -> dict[str, torch.Tensor]:
    return {"a": fields["a"] + 0.0 * seconds}


def record() -> xr.DataArray:
    """Windows of images of states that are drawn from B about zero, with errors of the variance R."""
    truth = ROOT.sample((WINDOWS, 1, SIDE, SIDE), torch.Generator().manual_seed(1)).numpy()
    noise = np.random.default_rng(2).standard_normal((WINDOWS, FRAMES, SIDE, SIDE))
    metres = {name: (name, 1e3 * np.arange(SIDE), {"units": "m"}) for name in "yx"}
    times = np.datetime64("2024-01-01", "ns") + np.arange(WINDOWS * FRAMES) * np.timedelta64(60, "s")
    values = (truth + STD * noise).reshape(-1, SIDE, SIDE)
    return xr.DataArray(values, {"time": times, **metres}, ("time", "y", "x"), "a", {"units": "1"})


@functools.lru_cache
def analysis(std: float = STD, b: float = 1.0, **options: Any) -> xr.Dataset:
    images = record()
    return images.var4d.assimilate(
        dynamics=steady,
        window=FRAMES,
        stride=FRAMES,
        background=xr.zeros_like(images[0], float).to_dataset(),
        background_error={"a": Matern(b, 3e3)},
        observation_error=std,
        uncertainty="posterior",
        samples=4,
        save=SAVED,
        dtype="float64",
        minimizer=LBFGS(max_evaluations=300, gtol=1e-8, ftol=0.0),
        **options,
    )


def covariance() -> torch.Tensor:
    """B as a matrix."""
    return ROOT.apply(torch.eye(SIDE**2, dtype=torch.float64).reshape(-1, 1, SIDE, SIDE)).flatten(1)


def trace() -> float:
    """Of HK of one window, from dense matrices."""
    matrix = covariance()
    # The mean over the frames observes the state with R over their number.
    noise = STD**2 / FRAMES * torch.eye(SIDE**2, dtype=torch.float64)
    return float(torch.trace(torch.linalg.solve(matrix + noise, matrix)))


def test_true_errors_are_found_again(tmp_path: Path) -> None:
    found = analysis().var4d.diagnose()
    count = WINDOWS * FRAMES * SIDE**2
    assert int(found["number_of_observations"][0]) == count
    assert float(found["cost_ratio"].mean()) == pytest.approx(1, abs=3 * (2 / count) ** 0.5)
    per_window = count / WINDOWS
    np.testing.assert_allclose(found["cost_ratio_spread"], (2 / per_window) ** 0.5)
    assert float(found["cost_ratio"].std()) == pytest.approx((2 / per_window) ** 0.5, rel=0.5)
    # The variance of products of correlated departures is at most that of as many independent ones in a window.
    assert float(found["observation_variance"][0]) == pytest.approx(STD**2, rel=3 * (2 / count) ** 0.5)
    assert float(found["background_variance"][0]) == pytest.approx(float(covariance().diagonal().mean()), rel=0.2)
    signal, error = (
        float(found["degrees_of_freedom_for_signal"][0]),
        float(found["degrees_of_freedom_for_signal_std"][0]),
    )
    assert abs(signal - WINDOWS * trace()) < 3 * error < 0.05 * signal
    prior, observed = WINDOWS * per_window * found["term_ratio"].mean("window").values
    assert prior == pytest.approx(signal, rel=0.1)
    assert observed == pytest.approx(count - signal, rel=0.05)
    assert float(found["influence"][0]) == pytest.approx(signal / count)
    np.testing.assert_allclose(found["observation_variance_by_step"], STD**2, rtol=0.1)
    np.testing.assert_allclose(found["observation_variance_by_region"], STD**2, rtol=0.15)
    assert abs(float(found["residual_bias"][0])) < 0.05
    assert "observation_error=" not in found.attrs["comment"]
    found.to_netcdf(tmp_path / "diagnostics.nc")
    code, words = strict_cf(tmp_path / "diagnostics.nc")
    assert code == 0, words


@pytest.mark.parametrize(("factor", "low", "high"), [(4.0, 0.2, 0.4), (0.25, 2.5, 4.2)])
def test_a_wrong_r_is_named_with_its_option(factor: float, low: float, high: float) -> None:
    found = analysis(std=STD * factor**0.5).var4d.diagnose()
    ratio = float(found["observation_variance"][0] / found["stated_observation_variance"][0])
    assert low < ratio < high
    assert not 0.5 < float(found["cost_ratio"].mean()) < 2
    first = next(line for line in found.attrs["comment"].splitlines() if "observation_error=" in line)
    assert first.startswith("R of a is too " + ("large" if factor > 1 else "small"))


def test_a_wrong_b_is_named_with_its_option() -> None:
    found = analysis(b=0.1).var4d.diagnose()
    lines = [line for line in found.attrs["comment"].splitlines() if "_error=" in line]
    assert lines
    assert lines[0].startswith("B is too small")
    assert "background_error=" in lines[0]


def test_images_have_statistics_but_no_expectation() -> None:
    storm = xvar.datasets.sample().isel(y=slice(40, 72), x=slice(40, 72))
    found = storm.var4d.assimilate(save=SAVED).var4d.diagnose()
    assert found["observation_variance"].isnull().all()
    assert np.isfinite(found["residual_bias"]).all()
    assert (found["residual_correlation"][0, 1:] > 0.5).all()  # along y and x
    assert float(found["effective_observations"][0]) < 0.1 * float(found["number_of_observations"][0])
    assert "_error=" not in found.attrs["comment"]


def test_points_need_nothing_that_is_saved() -> None:
    options = {"background_error": {"a": Diagonal(1.0), "b": Matern(1.0, 3e3)}}
    found = points().var4d.assimilate(dynamics=still, background=state(), **options).var4d.diagnose()
    used = 4
    assert int(found["number_of_observations"][0]) == used
    assert np.isfinite(found["chi_square"]).all()
    assert "degrees_of_freedom_for_signal" not in found
    sampled = points().var4d.assimilate(dynamics=still, background=state(), **options, uncertainty="posterior")
    assert 0 < float(sampled.var4d.diagnose()["influence"][0]) < 1.5


def test_an_analysis_without_departures_is_refused() -> None:
    storm = xvar.datasets.sample().isel(y=slice(40, 72), x=slice(40, 72))
    with pytest.raises(InputError) as caught:
        storm.var4d.assimilate().var4d.diagnose()
    assert codes(caught.value) == ["departures-missing"]
    with pytest.raises(InputError) as caught:
        storm.var4d.diagnose()
    assert codes(caught.value) == ["not-an-analysis"]


def test_in_the_shell(tmp_path: Path) -> None:
    analysis().to_netcdf(tmp_path / "a.nc")
    words = ["diagnose", str(tmp_path / "a.nc"), "-o", str(tmp_path / "d.nc")]
    result = CliRunner().invoke(application, words)
    assert result.exit_code == 0, result.output
    with xr.open_dataset(tmp_path / "d.nc") as found:
        assert str(found.attrs["comment"]).splitlines()[0] in result.output
        xr.testing.assert_allclose(found.load().drop_attrs(), analysis().var4d.diagnose().drop_attrs())
    assert CliRunner().invoke(application, [*words, "--json", "--overwrite"]).output.startswith("{")
