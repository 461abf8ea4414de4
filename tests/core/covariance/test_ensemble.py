from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor

from tests.core.covariance.operators import OperatorTests, dense, relative
from tests.core.numerics import random
from xvar.core.covariance import Covariance, Diagonal, Matern
from xvar.core.covariance.composite import Ensemble
from xvar.core.grid import Grid
from xvar.errors import InputError

GRID = Grid((6, 5), (20e3, 25e3))
MEMBERS = random((12, 2, 6, 5), 7)


class TestEnsemble(OperatorTests):
    iterative = True
    shape = (3, 2, 6, 5)

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return Ensemble(MEMBERS, Matern(1.0, 30e3)).bind(GRID, dtype=dtype, device=device)


class TestHybrid(OperatorTests):
    """Half of the variance from three members, which span little by themselves."""

    iterative = True
    shape = (3, 2, 6, 5)

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        error = Ensemble(MEMBERS[:3], Matern(1.0, 60e3, 4, truncation=0.5), Matern(0.5, 40e3), weight=0.5)
        return error.bind(GRID, dtype=dtype, device=device)

    def test_each_window_its_own(self) -> None:
        std = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64).view(3, 1, 1, 1)
        operator = Ensemble(MEMBERS, Matern(1.0, 60e3), Diagonal(std)).bind(GRID, dtype=torch.float64)
        x, windows = self.draw(0), torch.tensor([2, 0])
        assert torch.equal(operator.select(windows).apply(x[windows]), operator.apply(x)[windows])


def test_it_is_the_schur_product_of_the_sample_covariance_and_the_taper() -> None:
    taper = Matern(1.0, 30e3, 2)
    found = dense(Ensemble(MEMBERS, taper).bind(GRID, dtype=torch.float64).apply, (1, 2, 6, 5))
    sample = torch.cov(MEMBERS.flatten(1).T)
    correlation = dense(taper.bind(GRID, dtype=torch.float64).apply, (1, 1, 6, 5)).tile(2, 2)
    assert relative(found, sample * correlation) < 1e-12
    assert relative(found.diagonal(), sample.diagonal()) < 1e-12


def test_the_hybrid_is_a_mean_of_both() -> None:
    static, weight = Matern(0.5, 40e3), 0.3
    parts = [
        dense(error.bind(GRID, dtype=torch.float64).apply, (1, 2, 6, 5))
        for error in (
            Ensemble(MEMBERS, Matern(1.0, 30e3), static, weight),
            Ensemble(MEMBERS, Matern(1.0, 30e3)),
            static,
        )
    ]
    assert relative(parts[0], weight * parts[1] + (1 - weight) * parts[2]) < 1e-12


def test_many_members_have_the_covariance_they_were_drawn_from_and_few_need_the_taper() -> None:
    grid = Grid((12, 12), (20e3, 20e3))
    truth = Matern(1.0, 40e3, 2).bind(grid, dtype=torch.float64)
    matrix = dense(truth.apply, (1, 1, 12, 12))

    def error(count: int, length: float) -> float:
        members = truth.sample((count, 1, 12, 12), torch.Generator().manual_seed(1))
        operator = Ensemble(members, Matern(1.0, length, 8)).bind(grid, dtype=torch.float64)
        return relative(dense(operator.apply, (1, 1, 12, 12)), matrix)

    assert error(600, 5000e3) < 0.2
    assert error(20, 100e3) < 0.8 * error(20, 5000e3)


def test_the_link_between_components_is_kept() -> None:
    """Two components that are the same in every member have the same increment."""
    members = MEMBERS[:, :1].expand(-1, 2, -1, -1)
    operator = Ensemble(members, Matern(1.0, 30e3)).bind(GRID, dtype=torch.float64)
    found: Tensor = operator.apply(random((1, 2, 6, 5), 0))
    torch.testing.assert_close(found[:, 0], found[:, 1])


def test_a_state_that_no_member_spans_is_not_inverted() -> None:
    members = MEMBERS.clone()
    members[:, 1] = 0
    operator = Ensemble(members, Matern(1.0, 30e3)).bind(GRID, dtype=torch.float64)
    assert operator.solve(random((1, 2, 6, 5), 0)).isnan().all()


def test_members_of_a_dataset() -> None:
    """In the order of the core: y and x ascend in any file."""
    from xvar.covariance import ensemble

    values = MEMBERS.numpy()
    dims = ("y", "member", "x")
    dataset = xr.Dataset(
        {name: (dims, values[:, index, ::-1].transpose(1, 0, 2)) for index, name in enumerate(("a", "b"))},
        coords={"y": np.arange(6)[::-1] * 20e3, "x": np.arange(5) * 25e3},
    )
    found = ensemble(dataset, ["a", "b"], Matern(1.0, 30e3))
    assert torch.equal(found.members, MEMBERS)
    with pytest.raises(InputError) as report:
        ensemble(dataset.rename(member="number"), ["a", "c"], Matern(1.0, 30e3))
    assert [(fault.code, fault.variable) for fault in report.value.faults] == [
        ("ensemble-dimensions", "a"),
        ("variable-missing", None),
    ]
