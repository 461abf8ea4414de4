"""E. Configuration and numerics."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr

import xvar
from tests.faults.codes import raised
from tests.faults.images import SIZE, small, warm
from tests.faults.table import fault
from xvar import check
from xvar.covariance import Diagonal, Matern, Specification
from xvar.errors import AnalysisWarning, DivergedError
from xvar.minimize import LBFGS


def own(record: xr.Dataset, model, first: xr.Dataset | None = None, **options) -> xr.Dataset:
    """Assimilation with a model of the user's own, whose state is the observed variable."""
    background = (record if first is None else first)["sst"].isel(time=0, drop=True).to_dataset()
    errors = {"sst": Diagonal(std=0.5)}
    return record.var4d.assimilate(
        dynamics=model, background=background, background_error=errors, observation_error=0.2, **options
    )


def broken(state, seconds):
    return {"sst": state["sst"] * float("nan")}


def not_below(low: float, state, seconds):
    """No value below the lowest that was seen, and cooling that leads there: a logarithm that was not thought of."""
    return {"sst": state["sst"] - 1e-3 * torch.log(state["sst"] - low)}


@fault(
    59,
    "J that is not finite at the background",
    '`DivergedError`, an `InputError`, with the term and the variable; `errors="continue"` marks the window `diverged`',
)
def test_nothing_finite_to_start_from() -> str:
    assert issubclass(DivergedError, xvar.InputError)
    marked = own(warm(), broken, errors="continue")
    assert int(marked["status"][0]) == 4
    assert np.isnan(marked["cost"]).all()
    return raised(lambda: own(warm(), broken), "cost-not-finite", error=DivergedError, variable="sst")


@fault(
    60,
    "NaN on the way of the line search",
    "the best iterate is kept, status says how it ended, the other windows are untouched",
)
def test_nan_in_the_line_search() -> str:
    record = warm(7)
    low = float(record["sst"].min()) - 1e-3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AnalysisWarning)
        result = own(record, partial(not_below, low))
        alone = own(record.isel(time=slice(3, 7)), partial(not_below, low), first=record)
    assert np.isfinite(result["sst"]).all()
    assert (result["cost"][:, 1] <= result["cost"][:, 0]).all()
    np.testing.assert_array_equal(alone["sst"][0], result["sst"][1])
    assert set(result["status"].values) <= {1, 2, 4}
    return "status: converged, not_converged or diverged, each with the best iterate"


@fault(
    61,
    "a minimum that is not reached",
    "the result with status `not_converged`, the norm of its gradient, and a warning",
)
def test_not_converged() -> str:
    with pytest.warns(AnalysisWarning) as caught:
        result = warm().var4d.assimilate(minimizer=LBFGS(max_evaluations=2))
    assert int(result["status"][0]) == 2
    assert float(result["gradient_norm"][0]) > 0
    (text,) = [str(one.message) for one in caught]
    for word in ("1 of 1 windows not converged", "window 0 (2020-01-01T00:00:00 to", "evaluations", "gradient"):
        assert word in text
    return text


def converging(shear: float) -> xr.Dataset:
    """A background of a motion that piles up in the middle."""
    x = np.arange(SIZE) * 1e3
    u = np.broadcast_to(-shear * 4e3 * np.tanh((x - x.mean()) / 4e3), (SIZE, SIZE))
    return xr.Dataset({"u": (("y", "x"), u, {"units": "m s-1"}), "v": (("y", "x"), 0 * u, {"units": "m s-1"})})


@fault(
    62,
    "trajectories that cross; a first guess that leaves the grid",
    "flagged and warned of with value, window and steps; refused with speed, step and spacing",
)
def test_crossing_trajectories() -> str:
    options = {"dynamics": "steady", "background_error": Diagonal(std=1e-3)}
    still = warm().var4d.assimilate(background=converging(0.5 / 120), **options)
    assert float(still["deformation_number"][0]) == pytest.approx(0.5, rel=0.05)
    with pytest.warns(AnalysisWarning, match="trajectories cross in 1 of 1 windows.*is 2.* in window 0.*3 steps"):
        result = warm().var4d.assimilate(background=converging(2.1 / 120), **options)
    assert float(result["deformation_number"][0]) == pytest.approx(2.1, rel=0.05)
    return raised(
        lambda: warm().var4d.assimilate(dynamics="advection", background=converging(5000 / 120)),
        "background-too-fast",
        variable="background u",
    )


class Own(Specification):
    """A covariance of the user's own: the matrix between rows, the same in every column."""

    def __init__(self, matrix: torch.Tensor) -> None:
        self.matrix = matrix

    def bind(self, grid, *, dtype=torch.float32, device=None):
        operator = Diagonal(std=1.0).bind(grid, dtype=dtype, device=device)
        matrix = self.matrix.to(dtype)
        operator.apply = lambda state: torch.einsum("ij,wcjx->wcix", matrix, state)
        return operator


@small
@fault(
    63,
    "covariances that are none: not symmetric, not positive, negative errors, lengths below a cell",
    "refused, with the eigenvalue or the ratio",
)
def test_covariances() -> str:
    raised(lambda: warm().var4d.assimilate(background_error=Diagonal(std=-1.0)), "std-not-valid")
    raised(
        lambda: warm().var4d.assimilate(background_error=Matern(std=1.0, length=80.0)),
        "correlation-length",
        variable="background_error of 'velocity'",
    )
    rows = torch.arange(SIZE, dtype=torch.float64)
    smooth = torch.exp(-((rows[:, None] - rows) ** 2) / 8)
    warm().var4d.assimilate(dynamics="advection", background_error={"sst": Own(smooth)})
    raised(
        lambda: warm().var4d.assimilate(
            dynamics="advection", background_error={"sst": Own(smooth + 0.2 * smooth.triu(1))}
        ),
        "covariance-not-symmetric",
        variable="background_error of 'tracer'",
    )
    top_hat = ((rows[:, None] - rows).abs() < 6).double()  # a window that is no correlation
    return raised(
        lambda: warm().var4d.assimilate(dynamics="advection", background_error={"sst": Own(top_hat)}),
        "covariance-not-positive",
        variable="background_error of 'tracer'",
    )


@fault(64, "windows that do not fit", "refused, with what the record has")
def test_windows() -> str:
    raised(lambda: warm().var4d.assimilate(stride=0), "not-a-duration")
    raised(lambda: warm().var4d.assimilate(window=-3), "not-a-duration")
    raised(lambda: warm().var4d.assimilate(window="-3min"), "duration-invalid")
    raised(lambda: warm().var4d.assimilate(window=1), "window-too-short", dimension="time")
    return raised(lambda: warm().var4d.assimilate(window=9), "window-too-long", dimension="time")


@fault(65, "options that nobody knows", "refused, with the closest one")
def test_unknown_options() -> str:
    return raised(lambda: warm().var4d.assimilate(windw=3), "unknown-option")


def state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {"sst": torch.randn(2, 1, 6, 6, generator=generator, dtype=torch.float64)}


@fault(
    66,
    "models that autograd does not see through",
    "`xvar.check.dynamics` fails with the residual of the adjoint, and says what to look for",
)
def test_no_adjoint() -> str:
    report = check.dynamics(lambda state, seconds: {"sst": state["sst"] * state["sst"].detach()}, state())
    assert not report.passed
    failed = {row.name: row for row in report.rows if not row.passed}
    assert "adjoint, by central differences" in failed
    assert failed["adjoint, by central differences"].error > 1e-3
    return str(failed["adjoint, by central differences"].message)


@fault(67, "models that change their input, or are random", "`xvar.check.dynamics` fails, and names it")
def test_in_place_and_random() -> str:
    def in_place(state, seconds):
        state["sst"].detach().mul_(0.5)
        return {"sst": state["sst"] * 2.0}

    def random(state, seconds):
        return {"sst": state["sst"] + torch.randn(state["sst"].shape, dtype=torch.float64)}

    failed = {
        row.name: row.message
        for model in (in_place, random)
        for row in check.dynamics(model, state()).rows
        if not row.passed
    }
    assert "['sst'] in place" in failed["the input does not change"]
    return failed["the step is deterministic"]
