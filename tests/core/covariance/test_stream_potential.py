from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.core.covariance.operators import OperatorTests, dense, relative
from tests.core.numerics import random
from xvar.core.covariance import Helmholtz, StreamPotential
from xvar.core.covariance.helmholtz import StreamPotentialCovariance, period_around
from xvar.core.grid import Grid, block_mean

GRID = Grid((11, 9), (900.0, 1200.0))
WIDE = Grid((30, 26), (1000.0, 1000.0))
LENGTH = 8000.0  # 8 cells of WIDE, as it is used


def wide(ratio: float = 0.2, truncation: float = 0.5, mean: float = 0.4) -> StreamPotentialCovariance:
    return StreamPotential(0.6, LENGTH, mean, potential_ratio=ratio, truncation=truncation).bind(
        WIDE, dtype=torch.float64
    )


class TestTruncated(OperatorTests):
    """The mixin without the tests that an operator without the shortest waves cannot pass.

    B has a null space: it is semi-definite (not positive), has no determinant and no inverse. `solve` is that of
    :math:`B + r^2` by conjugate gradients that stop, and so neither B's inverse nor linear to rounding nor the same at
    both precisions; it is homogeneous, and its adjoint is itself by decree. `inverse_hessian` is the root of the
    diagonal, in the control's shape, not the state's. What takes the place of each row stands below.
    """

    iterative = True
    shape = (3, 2, 11, 9)

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> StreamPotentialCovariance:
        return StreamPotential(0.6, 3000.0, 0.4).bind(GRID, dtype=dtype, device=device)

    def test_it_is_positive(self) -> None:
        values = torch.linalg.eigvalsh(self.matrix())
        assert float(values.min()) > -1e-14 * float(values.max())
        assert float(values.min()) < 1e-9 * float(values.max())  # the shortest waves are left out

    def test_it_is_linear(self) -> None:
        operator, x, y = self.operator(), self.draw(0), self.draw(1)
        for method in (operator.apply, operator.sqrt_transpose):
            assert relative(method(2.5 * x - 3 * y), 2.5 * method(x) - 3 * method(y)) < 1e-10
        v, w = self.draw_control(2), self.draw_control(3)
        assert relative(operator.sqrt(2.5 * v - 3 * w), 2.5 * operator.sqrt(v) - 3 * operator.sqrt(w)) < 1e-10
        assert relative(operator.solve(-2.5 * x), -2.5 * operator.solve(x)) < 1e-10
        assert torch.equal(operator.solve(torch.zeros_like(x)), torch.zeros_like(x))

    def test_solve_inverts_apply(self) -> None:
        """On what B holds, as a state: the control of a state makes that state again, nearly."""
        operator = self.operator()
        x = operator.sqrt(self.draw_control(0))
        assert relative(operator.apply(operator.solve(x)), x) < 0.15
        assert ((operator.solve(x) * x).flatten(1).sum(1) > 0).all()

    def test_single_precision_agrees_with_double(self) -> None:
        single, double, x, v = self.operator(torch.float32), self.operator(), self.draw(0), self.draw_control(1)
        assert single.dtype == torch.float32
        for name, argument, gate in (
            ("apply", x, 1e-5),
            ("sqrt_transpose", x, 1e-5),
            ("sqrt", v, 1e-5),
            ("solve", x, 0.05),
        ):
            found = getattr(single, name)(argument.float())
            assert found.dtype == torch.float32
            assert relative(found.double(), getattr(double, name)(argument)) < gate

    def test_inverse_hessian_against_a_dense_one(self) -> None:
        """The diagonal of one wave after the other to a power below one, where the window holds the wave."""
        operator, curvature = self.operator(), torch.tensor(20.0, dtype=torch.float64)
        size = operator.control_shape(self.shape)
        found = operator.inverse_hessian(curvature, self.shape).expand(size)[0]
        assert ((found > 0) & (found <= 1)).all()
        root = dense(operator.sqrt, size)
        diagonal = (1 + curvature * root.square().sum(0)).reshape(size[1:])
        power = -found.log() / diagonal.log()
        kept = torch.ones_like(power, dtype=torch.bool)
        kept[:, :, 0, 0] = False  # the mean stands for two numbers at once, of which one is no motion
        kept &= diagonal > 1.5
        assert 0.4 < float(power[kept].median()) < 0.9
        none = operator.inverse_hessian(torch.zeros_like(curvature), self.shape)
        assert torch.equal(none, torch.ones_like(none))

    def test_samples_have_the_stated_covariance(self) -> None:
        operator, matrix, count = self.operator(), self.matrix(), 4000
        shape = (count, *self.shape[1:])
        sample = operator.sample(shape, torch.Generator().manual_seed(0))
        assert torch.equal(sample, operator.sample(shape, torch.Generator().manual_seed(0)))
        states, deviation = sample.flatten(1), matrix.diagonal().sqrt()
        found = (states / deviation).T @ (states / deviation) / count
        assert float((found - matrix / (deviation[:, None] * deviation)).abs().max()) < 6 * math.sqrt(2 / count)


class TestWhole(OperatorTests):
    """Every wave is kept: the same rows, for `solve` still has its ridge and the larger grid its null space."""

    iterative = True
    shape = (3, 2, 11, 9)
    test_it_is_linear = TestTruncated.test_it_is_linear
    test_solve_inverts_apply = TestTruncated.test_solve_inverts_apply
    test_single_precision_agrees_with_double = TestTruncated.test_single_precision_agrees_with_double
    test_inverse_hessian_against_a_dense_one = TestTruncated.test_inverse_hessian_against_a_dense_one

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> StreamPotentialCovariance:
        return StreamPotential(0.6, 3000.0, 0.4, truncation=1.0).bind(GRID, dtype=dtype, device=device)

    @pytest.mark.parametrize("shape", [(8, 8), (9, 8), (8, 9), (9, 9), (12, 5)])
    def test_root_and_adjoint_whatever_the_parity_of_the_larger_grid(self, shape: tuple[int, int]) -> None:
        for truncation in (0.3, 0.5, 1.0):
            operator = StreamPotential(0.6, 2000.0, 0.4, truncation=truncation).bind(
                Grid(shape, (900.0, 1200.0)), dtype=torch.float64
            )
            size = operator.control_shape((1, 2, *shape))
            root = dense(operator.sqrt, size)
            transpose = dense(operator.sqrt_transpose, (1, 2, *shape))
            assert relative(transpose, root.T) < 1e-12


def test_stacked_motions_are_those_of_each_alone() -> None:
    first, second = wide(), wide(ratio=1.0, mean=0.1)
    both = first.stack([(first, 2), (second, 2)])
    assert first.stack_key == second.stack_key != wide(truncation=0.3).stack_key
    size = first.control_shape((3, 2, *WIDE.shape))
    controls, states = [random(size, seed) for seed in (1, 2)], [random((3, 2, *WIDE.shape), seed) for seed in (3, 4)]
    alone = torch.cat([one.sqrt(control) for one, control in zip((first, second), controls, strict=True)], dim=1)
    torch.testing.assert_close(both.sqrt(torch.cat(controls, dim=1)), alone, rtol=0, atol=1e-14)
    alone = torch.cat([one.sqrt_transpose(state) for one, state in zip((first, second), states, strict=True)], dim=1)
    torch.testing.assert_close(both.sqrt_transpose(torch.cat(states, dim=1)), alone, rtol=0, atol=1e-12)


def variances(operator: StreamPotentialCovariance) -> Tensor:
    """At every point, (component, y, x)."""
    root = dense(operator.sqrt, operator.control_shape((1, 2, *WIDE.shape)))
    return root.square().sum(1).reshape(2, *WIDE.shape)


@pytest.mark.parametrize("ratio", [0.2, 1.0])
def test_the_stated_variance_to_five_percent_at_every_point(ratio: float) -> None:
    found = variances(wide(ratio))
    assert float((found.mean() / (0.6**2 + 0.4**2) - 1).abs()) < 0.05
    # up to the edges: the larger grid is periodic
    assert float((found.mean((1, 2)) / found.mean() - 1).abs().max()) < 0.05
    for component in found:
        assert float(component.max() / component.min() - 1) < 1e-10


def test_the_share_of_the_mean() -> None:
    """The mean of the larger grid is a uniform motion."""
    with_mean, without = variances(wide(mean=0.4)), variances(wide(mean=1e-9))
    assert float((with_mean - without - 0.4**2).abs().max()) < 1e-12


def test_the_ratio_is_that_of_divergence_to_vorticity() -> None:
    for ratio in (1e-12, 0.2, 1.0):
        w = wide(ratio).sample((100, 2, *WIDE.shape), torch.Generator().manual_seed(0))
        u, v = w[:, 0], w[:, 1]
        divergence = (u.diff(dim=-1)[:, 1:-1, 1:] + v.diff(dim=-2)[:, 1:, 1:-1]) / 1000.0
        curl = (v.diff(dim=-1)[:, 1:-1, :-1] - u.diff(dim=-2)[:, :-1, 1:-1]) / 1000.0
        found = float(divergence.square().mean() / curl.square().mean())
        assert found == pytest.approx(ratio, rel=0.15, abs=1e-3)


def test_it_is_helmholtz_without_the_shortest_waves() -> None:
    point = torch.zeros(1, 2, *WIDE.shape, dtype=torch.float64)
    point[0, 0, 15, 13] = 1
    expected = Helmholtz(0.6, LENGTH, 0.4).bind(WIDE, dtype=torch.float64).apply(point)
    assert relative(wide(truncation=1.0).apply(point), expected) < 0.02
    assert relative(wide().apply(point), expected) < 0.03


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("shape", [(32, 24), (30, 26), (29, 27)])
def test_a_coarse_motion_is_refined(factor: int, shape: tuple[int, int]) -> None:
    """The waves of a coarse grid are waves of the finer one, of the same place: its blocks have the coarse motion."""
    fine_grid = Grid(shape, (1000.0, 1000.0))
    period = period_around(fine_grid, LENGTH, 4)
    coarse, fine = (
        StreamPotential(0.6, LENGTH, 0.4, period=period).bind(grid, dtype=torch.float64)
        for grid in (fine_grid.coarsen(factor), fine_grid)
    )
    control = random(coarse.control_shape((3, 2, *shape)), 1)
    control[:, :, :, 4:-4] = 0  # long waves, which both grids hold alike
    control[..., 4:] = 0
    found = fine.refine(coarse, control)
    assert found.shape == fine.control_shape((3, 2, *shape))
    blocks = block_mean(fine.sqrt(found), factor)
    whole = tuple(slice(0, size // factor) for size in shape)
    expected = coarse.sqrt(control)
    assert relative(blocks[..., whole[0], whole[1]], expected[..., whole[0], whole[1]]) < 0.01 * factor**2
    for k in range(3):
        assert torch.equal(fine.refine(coarse, control[k : k + 1])[0], found[k])


def test_waves_of_the_finer_grid_alone_are_zero() -> None:
    fine_grid = Grid((32, 24), (1000.0, 1000.0))
    period = period_around(fine_grid, LENGTH, 4)
    coarse, fine = (
        StreamPotential(0.6, LENGTH, 0.4, period=period).bind(grid, dtype=torch.float64)
        for grid in (fine_grid.coarsen(2), fine_grid)
    )
    control = random(coarse.control_shape((1, 2, 16, 12)), 2)
    found = fine.refine(coarse, control)
    assert int((found != 0).any(0).any(0).any(0).sum()) <= control[0, 0, 0].numel()


@pytest.mark.parametrize(("truncation", "rows", "columns"), [(1.0, 31, 17), (0.5, 16, 8), (0.25, 8, 4)])
def test_the_control_has_the_stated_share_of_the_waves(truncation: float, rows: int, columns: int) -> None:
    """Of 32 rows one wave has no conjugate, and is left out; of real rows of 32 there are 17 waves."""
    error = StreamPotential(0.5, 4e3, 0.3, truncation=truncation, period=(32e3, 32e3))
    operator = error.bind(Grid((20, 18), (1e3, 1e3)), dtype=torch.float64)
    assert operator.control_shape((3, 2, 20, 18)) == (3, 2, 2, rows, columns)
