"""Gauss-Newton: exact on quadratic problems in one loop, the same answer as L-BFGS, and no window sees another."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from xvar.core.advection import Advection
from xvar.core.cost import Cost, CostOfBatch
from xvar.core.covariance import Matern, Tikhonov
from xvar.core.grid import Grid
from xvar.core.minimize import LBFGS, GaussNewton, Reason
from xvar.core.observation import Component, Observation
from xvar.core.parcels import ImageAtParcels, Parcels
from xvar.core.problem import Problem
from xvar.errors import InputError

GRID = Grid((12, 14), (1000.0, 1500.0))


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear_problem(windows: int = 3) -> Problem:
    """A tracer carried by a motion that is known: J is quadratic in the tracer."""
    velocity = torch.tensor([3.0, -2.0], dtype=torch.float64).view(1, 2, 1, 1).expand(windows, 2, *GRID.shape)
    frames = [noise(windows, 1, *GRID.shape, seed=seed) for seed in range(3)]
    frames[1][:, :, :3] = torch.nan
    observations = tuple(
        Observation(100.0 * index, Component("tracer"), frame, torch.tensor(0.5, dtype=torch.float64))
        for index, frame in enumerate(frames)
    )
    return Problem(
        grid=GRID,
        dynamics=Advection(motion="steady"),
        steps=(100.0, 100.0),
        background={"velocity": velocity, "tracer": noise(windows, 1, *GRID.shape, seed=7)},
        background_error={"tracer": Matern(1.0, 3000.0)},
        observations=observations,
    )


def motion_problem(windows: int = 2) -> Problem:
    """The motion of images: J is not quadratic, its norm is robust, and the divergence is a penalty."""
    images = noise(windows, 2, *GRID.shape, seed=3).cumsum(-1).cumsum(-2)
    images = images / images.flatten(1).std(1)[:, None, None, None]
    last = images[:, 1:]
    std = torch.tensor(0.3, dtype=torch.float64)
    observation = Observation(-60.0, ImageAtParcels(images[:, :1]), torch.zeros_like(last), std, threshold=1.0)
    return Problem(
        grid=GRID,
        dynamics=Parcels(),
        steps=(-60.0,),
        background={"velocity": 0.1 + torch.zeros(windows, 2, *GRID.shape, dtype=torch.float64), "tracer": last},
        background_error={"velocity": Tikhonov(1e4, 1e10, divergence=1e4, mean_std=10.0)},
        observations=(observation,),
    )


def test_one_loop_solves_a_quadratic_problem_as_lbfgs_does() -> None:
    cost = CostOfBatch(linear_problem())
    start = cost.whole.zero()
    newton = GaussNewton(outer=2, inner=400, residual=1e-13, gradient=1e-10)(cost, start)
    quasi = LBFGS(evaluations=2000, gradient=1e-12, decrease=0.0, memory=50)(cost, start)
    torch.testing.assert_close(newton.cost, quasi.cost, rtol=1e-10, atol=0)
    distance = (newton.control - quasi.control).norm(dim=1) / quasi.control.norm(dim=1)
    assert distance.max() < 1e-6
    assert (newton.reason == Reason.GRADIENT).all()


@pytest.mark.parametrize("problem", [linear_problem(), motion_problem()], ids=["quadratic", "robust"])
def test_the_product_is_symmetric_and_at_least_the_prior(problem: Problem) -> None:
    cost = Cost(problem)
    control = noise(problem.windows, cost.size, seed=11)
    quadratic = cost.linearise(control)
    a, b = (noise(problem.windows, cost.size, seed=seed) for seed in (12, 13))
    left, right = (a * quadratic.product(b)).sum(1), (quadratic.product(a) * b).sum(1)
    torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)
    assert ((a * quadratic.product(a)).sum(1) >= (a * a).sum(1)).all()


def test_the_product_is_the_hessian_of_a_quadratic_cost() -> None:
    cost = Cost(linear_problem())
    control, direction = noise(3, cost.size, seed=1), noise(3, cost.size, seed=2)
    difference = cost.gradient(control + direction)[1] - cost.gradient(control)[1]
    torch.testing.assert_close(cost.linearise(control).product(direction), difference, rtol=1e-9, atol=1e-9)


def test_the_cost_never_grows_and_ends_where_lbfgs_does() -> None:
    cost = CostOfBatch(motion_problem())
    start = cost.whole.zero()
    newton = GaussNewton(outer=40, inner=30)(cost, start)
    history = torch.stack(newton.history)
    assert (history.diff(dim=0) <= 0).all()
    assert newton.cost.lt(history[0]).all()
    torch.testing.assert_close(cost(newton.control, torch.arange(2))[0], newton.cost)


def test_a_window_alone_has_the_same_bits() -> None:
    problem = motion_problem(3)
    together = GaussNewton(outer=4, inner=6)(CostOfBatch(problem), Cost(problem).zero())
    for window in range(3):
        part = problem.select(torch.tensor([window]))
        alone = GaussNewton(outer=4, inner=6)(CostOfBatch(part), Cost(part).zero())
        assert torch.equal(alone.control[0], together.control[window])


def test_a_window_without_a_value_diverges_alone() -> None:
    problem = motion_problem(3)
    problem.background["velocity"][1] = torch.inf
    minimum = GaussNewton(outer=3, inner=5)(CostOfBatch(problem), Cost(problem).zero())
    assert minimum.reason[1] == Reason.DIVERGED
    assert minimum.cost[[0, 2]].isfinite().all()
    assert (minimum.control[1] == 0).all()


def smooth_problem(windows: int = 2) -> Problem:
    """Two blobs of which one moves away from the other, with a motion that varies slowly."""
    grid = Grid((24, 32), (1000.0, 1000.0))
    y, x = torch.arange(24.0)[:, None].double(), torch.arange(32.0)[None].double()

    def blob(row: float, column: float) -> Tensor:
        return torch.exp(-((y - row) ** 2 + (x - column) ** 2) / 40)

    frames = [blob(8, 9 + 1.0 * k) + blob(15 - 0.5 * k, 22) for k in range(3)]
    observations = tuple(
        Observation(
            100.0 * index,
            Component("tracer"),
            frame.expand(windows, 1, 24, 32),
            torch.tensor(0.1, dtype=torch.float64),
        )
        for index, frame in enumerate(frames)
    )
    return Problem(
        grid=grid,
        dynamics=Advection(motion="steady", sampler="cubic"),
        steps=(100.0, 100.0),
        background={
            "velocity": torch.full((windows, 2, 24, 32), 0.3, dtype=torch.float64),
            "tracer": frames[0].expand(windows, 1, 24, 32).contiguous(),
        },
        background_error={"velocity": Matern(8.0, 8000.0, 3), "tracer": Matern(0.1, 6000.0, 3)},
        observations=observations,
    )


def test_coarse_inner_loops_end_at_the_minimum_of_the_full_grid() -> None:
    problem = smooth_problem()
    zero = Cost(problem).zero()
    tight = {"inner": 60, "gradient": 1e-8, "decrease": 0.0}
    full = GaussNewton(outer=12, **tight)(CostOfBatch(problem), zero)
    several = GaussNewton(outer=14, resolution=(4, 2, 2, 1), **tight)(CostOfBatch(problem), zero)
    torch.testing.assert_close(several.cost, full.cost, rtol=1e-8, atol=0)
    torch.testing.assert_close(several.control, full.control, rtol=0, atol=1e-4)


def test_coarse_inner_loops_alone_come_near_on_smooth_fields() -> None:
    problem = smooth_problem()
    cost = Cost(problem)
    full = GaussNewton(outer=12)(CostOfBatch(problem), cost.zero())
    coarse = GaussNewton(outer=12, resolution=(2,))(CostOfBatch(problem), cost.zero())
    first = cost.value(cost.zero())
    assert bool(((coarse.cost - full.cost) < 0.02 * (first - full.cost)).all())
    found, expected = (cost.increment(minimum.control)["velocity"] for minimum in (coarse, full))
    assert float((found - expected).norm() / expected.norm()) < 0.1


def test_the_map_from_a_coarse_control_keeps_the_field() -> None:
    problem = smooth_problem()
    fine, coarse = Cost(problem), Cost(problem.with_coarse_model(2))
    control = torch.zeros_like(coarse.zero())
    shape = coarse._blocks[0].shape
    control[:, : shape[0] * shape[1] * shape[2]].view(-1, *shape)[..., :4, :4] = noise(2, *shape[:1], 4, 4, seed=2)
    found = fine.increment(fine.embed(coarse, control, 2))["velocity"]
    expected = coarse.increment(control)["velocity"]
    means = torch.nn.functional.avg_pool2d(found, 2)
    assert float((means - expected)[..., 2:-2, 2:-2].norm() / expected.norm()) < 0.03


@pytest.mark.parametrize("resolution", [(), (0,), (2, 1.5)])
def test_blocks_of_no_cells_are_refused(resolution: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="blocks"):
        GaussNewton(resolution=resolution)
