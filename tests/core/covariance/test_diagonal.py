from __future__ import annotations

import torch

from tests.core.covariance.operators import OperatorTests
from xvar.core.covariance import Covariance, Diagonal
from xvar.core.grid import Grid

GRID = Grid((9, 7), (1.0, 1.0))


class TestNumber(OperatorTests):
    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return Diagonal(0.3).bind(GRID, dtype=dtype, device=device)


class TestField(OperatorTests):
    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        std = torch.linspace(0.1, 2, 2 * 9 * 7, dtype=torch.float64).reshape(2, 9, 7)
        return Diagonal(std).bind(GRID, dtype=dtype, device=device)


class TestOneAxis(OperatorTests):
    shape = (3, 1, 40)

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return Diagonal(torch.linspace(1, 2, 40)).bind(Grid((40,), (1.0,)), dtype=dtype, device=device)


def test_a_sample_is_drawn_in_the_precision_of_the_operator() -> None:
    for dtype in (torch.float64, torch.float32):
        shape, draw = (2, 2, 9, 7), torch.Generator().manual_seed(3)
        expected = 0.3 * torch.randn(shape, generator=draw, dtype=dtype)
        found = Diagonal(0.3).bind(GRID, dtype=dtype).sample(shape, torch.Generator().manual_seed(3))
        torch.testing.assert_close(found, expected, rtol=1e-6 if dtype == torch.float32 else 1e-14, atol=0)


def test_a_deviation_for_each_window() -> None:
    std = torch.tensor([1.0, 2.0], dtype=torch.float64).reshape(2, 1, 1, 1)
    operator = Diagonal(std).bind(GRID, dtype=torch.float64)
    x = torch.ones(2, 2, 9, 7, dtype=torch.float64)
    assert torch.equal(operator.apply(x), x * std**2)
    assert torch.equal(operator.select(torch.tensor([1])).apply(x[1:]), x[1:] * 4)


def test_no_error_where_the_deviation_is_zero() -> None:
    operator = Diagonal(0.0).bind(GRID)
    x = torch.ones(1, 1, 9, 7)
    assert float(operator.sqrt(x).abs().max()) == 0
    assert float(operator.solve(x).abs().max()) == 0
