from __future__ import annotations

import torch

from tests.core.covariance.operators import OperatorTests
from xvar.core.covariance import Covariance, Matern
from xvar.core.covariance.channels import Channels
from xvar.core.grid import Grid

GRID = Grid((9, 7), (1e3, 1e3))
MATRIX = torch.tensor([[0.9, 0.4], [0.4, 0.5]], dtype=torch.float64)


class TestChannels(OperatorTests):
    exact_inverse_hessian = False

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return Channels(MATRIX, Matern(1.0, length=2e3)).bind(GRID, dtype=dtype, device=device)


class TestChannelsWithoutSpace(OperatorTests):
    exact_inverse_hessian = False

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return Channels(MATRIX).bind(GRID, dtype=dtype, device=device)


def test_it_is_the_kronecker_product() -> None:
    bound = Channels(MATRIX, Matern(1.0, length=2e3)).bind(GRID, dtype=torch.float64)
    space = Matern(1.0, length=2e3).bind(GRID, dtype=torch.float64)
    units = torch.eye(63, dtype=torch.float64).reshape(63, 1, 9, 7)
    expected = torch.kron(MATRIX, space.apply(units).flatten(1))
    both = torch.eye(126, dtype=torch.float64).reshape(126, 2, 9, 7)
    torch.testing.assert_close(bound.apply(both).flatten(1), expected, rtol=0, atol=1e-12)
