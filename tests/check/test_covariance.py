"""The check of covariances: those of xvar pass, and each fault fails its row."""

from __future__ import annotations

import pytest
import torch

from xvar import check
from xvar.core.covariance.base import spectrum
from xvar.core.grid import Grid
from xvar.covariance import Diagonal, Diffusion, Helmholtz, Matern

GRID = Grid((12, 12), (1e3, 1e3))


@pytest.mark.parametrize(
    ("specification", "components"),
    [
        (Diagonal(std=0.3), 1),
        (Matern(std=0.3, length=4e3), 2),
        (Diffusion(std=0.3, length=3e3), 1),
        (Helmholtz(std=3.0, length=4e3, mean_std=5.0), 2),
    ],
)
def test_covariances_of_xvar_pass(specification, components) -> None:
    report = check.covariance(specification, (12, 12), components=components)
    assert report.passed, str(report)
    assert [row.name for row in report.rows][:3] == ["linear", "symmetric", "positive"]


def broken(**methods):
    """An operator that is the identity but for what is given."""
    operator = Diagonal(std=1.0).bind(GRID, dtype=torch.float64)
    for name, method in methods.items():
        setattr(operator, name, method)
    return operator


ROWS = torch.arange(12, dtype=torch.float64)
HAT = ((ROWS[:, None] - ROWS).abs() < 4).double()


def by_rows(matrix):
    return lambda state: torch.einsum("ij,wcjx->wcix", matrix, state)


@pytest.mark.parametrize(
    ("row", "operator"),
    [
        ("linear", broken(apply=lambda x: x + 0.1 * x.abs())),
        ("symmetric", broken(apply=by_rows(torch.eye(12, dtype=torch.float64) + 0.1 * torch.ones(12, 12).triu(1)))),
        ("positive", broken(apply=by_rows(HAT))),
        ("square root", broken(apply=lambda x: 2 * x)),
        ("adjoint of the root", broken(sqrt_transpose=lambda x: x.flip(-1))),
        ("inverse", broken(solve=lambda x: 1.001 * x)),
        ("windows are independent", broken(apply=lambda x: x - 0.1 * x.mean(dim=0, keepdim=True))),
    ],
)
def test_each_fault_fails_its_row(row, operator) -> None:
    report = check.covariance(operator, (12, 12))
    assert row in {one.name for one in report.rows if not one.passed}, str(report)


def test_the_least_eigenvalue_is_that_of_the_matrix() -> None:
    values = torch.linalg.eigvalsh(HAT)
    asymmetry, least = spectrum(broken(apply=by_rows(HAT)), (1, 1, 12, 12))
    assert asymmetry < 1e-12
    assert least == pytest.approx(float(values[0] / values[-1]), rel=1e-6)
    skewed = torch.eye(12, dtype=torch.float64)
    skewed[0, 1] = 1.0
    assert spectrum(broken(apply=by_rows(skewed)), (1, 1, 12, 12))[0] > 1e-3
    assert spectrum(broken(), (2, 1, 12, 12)) == (0.0, pytest.approx(1.0))


def test_an_exception_is_reported() -> None:
    def boom(state):
        message = "no such grid"
        raise RuntimeError(message)

    (row,) = [one for one in check.covariance(broken(apply=boom), (12, 12)).rows if not one.passed]
    assert (row.name, row.message) == ("it runs", "RuntimeError: no such grid")
