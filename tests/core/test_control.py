from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.core.linear import Dense, covariance_matrix
from tests.core.minimize.problems import noise, smooth_problem
from tests.core.numerics import random, relative, smooth
from tests.core.problems import SIZE, linear
from xvar.core.control import ControlSpace
from xvar.core.covariance import Diffusion, Matern, StreamPotential, Tikhonov
from xvar.core.covariance.helmholtz import period_around
from xvar.core.grid import Grid, finer
from xvar.core.models.advection import Advection
from xvar.core.problem import ForcedSteps, Problem


def test_fields_and_control_are_inverse() -> None:
    weak = ForcedSteps({"x": Dense(covariance_matrix(SIZE, 7))}, ((0,), (1, 2, 3)))
    space = ControlSpace(linear(model_error=weak))
    control = random(space.zero().shape, 9)
    # not the same control where the root is not symmetric, but that of the same fields and the same J_b
    again = space.control(space.fields(control))
    for one, other in zip(space.fields(again), space.fields(control), strict=True):
        assert relative(one, other) < 1e-12
    assert relative(again.square().sum(1), control.square().sum(1)) < 1e-12
    grid = Grid((8, 9), (1.0, 2.0))
    fields = smooth((2, 2, 8, 9), 10)
    problem = Problem(
        grid, Advection(), (1.0,), {"velocity": fields}, {"velocity": Tikhonov(gradient=1.0, mean_std=1.0)}, ()
    )
    space = ControlSpace(problem)
    assert relative(space.fields(space.control([fields]))[0], fields) < 1e-12


def test_the_map_from_a_coarse_control_keeps_the_field() -> None:
    problem = smooth_problem()
    fine, coarse = ControlSpace(problem), ControlSpace(problem.with_coarse_model(2))
    control = torch.zeros_like(coarse.zero())
    shape = coarse.blocks[0].shape
    control[:, : shape[0] * shape[1] * shape[2]].view(-1, *shape)[..., :4, :4] = noise(2, *shape[:1], 4, 4, seed=2)
    found = fine.increment(fine.fields(fine.embed(coarse, control, 2)))["velocity"]
    expected = coarse.increment(coarse.fields(control))["velocity"]
    means = torch.nn.functional.avg_pool2d(found, 2)
    assert float((means - expected)[..., 2:-2, 2:-2].norm() / expected.norm()) < 0.03


def test_a_coarse_control_is_refined() -> None:
    """By the covariance if it can, else by the field."""
    problem = smooth_problem()
    period = period_around(problem.grid, 4e3, 2)
    errors = {**problem.background_error, "velocity": StreamPotential(0.5, 4e3, 0.3, period=period)}
    problem = replace(problem, background_error=errors)
    fine, coarse = ControlSpace(problem), ControlSpace(problem.with_coarse_model(2))
    control = random(coarse.zero().shape, 3)
    refined = fine.refine(coarse, control, 2)
    for one, other in zip(fine.blocks, coarse.blocks, strict=True):
        directly = one.covariance.refine(other.covariance, other.own(control))
        field = finer(other.covariance.sqrt(other.own(control)), 2, problem.grid.shape)
        assert (directly is not None) == (one.name == "velocity")
        expected = one.control(field) if directly is None else directly
        assert torch.equal(one.own(refined), expected)


def test_parts_that_share_a_transform_are_those_that_do_not() -> None:
    """B of two components by one call of a transform, each with a deviation of its own, is B of each."""
    grid = Grid((8, 9), (1.0, 2.0))
    errors = {
        "a": Matern(torch.linspace(1, 2, 9, dtype=torch.float64).expand(8, 9), 4.0),
        "b": Matern(0.5, 6.0),
        "d": Tikhonov(gradient=2.0, mean_std=1.0),
        "c": Matern(torch.tensor([1.0, 3.0], dtype=torch.float64).reshape(2, 1, 1, 1), 5.0),
    }
    fields = {name: smooth((2, 1, 8, 9), seed) for seed, name in enumerate(errors)}
    space = ControlSpace(Problem(grid, Advection(), (1.0,), fields, errors, ()))
    control = random(space.zero().shape, 4)
    for block, field in zip(space.blocks, space.fields(control), strict=True):
        alone = errors[block.name].bind(grid, dtype=torch.float64)
        assert relative(field, alone.sqrt(block.own(control))) < 1e-12
    stacked = [random(part.shape, seed) for seed, part in enumerate(space.sqrt(control))]
    left = sum(float((one * two).sum()) for one, two in zip(space.sqrt(control), stacked, strict=True))
    assert left == pytest.approx(float((control * space.sqrt_transpose(stacked)).sum()), rel=1e-12)


def test_stacked_fields_are_split_and_merged() -> None:
    grid = Grid((8, 9), (1.0, 2.0))
    errors = {"a": Matern(1.0, 4.0), "b": Matern(0.5, 6.0), "w": Tikhonov(gradient=1.0, mean_std=1.0, edges="periodic")}
    sizes = {"a": 1, "b": 2, "w": 2}
    fields = {name: smooth((2, size, 8, 9), seed) for seed, (name, size) in enumerate(sizes.items())}
    space = ControlSpace(Problem(grid, Advection(), (1.0,), fields, errors, ()))
    stacked = space.merge(list(fields.values()))
    assert [part.shape[1] for part in stacked] == [3, 2]  # a and b share a transform
    assert all(torch.equal(one, other) for one, other in zip(space.split(stacked), fields.values(), strict=True))


def test_a_covariance_without_waves_is_refined_by_its_field() -> None:
    """Diffusion: `embed` and `refine` give the same, cell by cell."""
    water = torch.ones(12, 10, dtype=torch.bool)
    water[4:6, 4:6] = False
    grid = Grid((12, 10), (1e3, 1e3), water=water)
    fields = {"tracer": smooth((2, 1, 12, 10), 1), "velocity": smooth((2, 2, 12, 10), 2)}
    errors = {"tracer": Diffusion(0.5, 5e3)}
    problem = Problem(grid, Advection(), (1.0,), fields, errors, ())
    fine, coarse = ControlSpace(problem), ControlSpace(problem.with_coarse_model(2))
    control = random(coarse.zero().shape, 3)
    expected = finer(coarse.fields(control)[0], 2, grid.shape) * water
    for carried in (fine.embed(coarse, control, 2), fine.refine(coarse, control, 2)):
        found = fine.fields(carried)[0]
        assert relative(found[..., water], expected[..., water]) < 1e-6
