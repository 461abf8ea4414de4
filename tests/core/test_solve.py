from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.numerics import DTYPES, generator, relative, smooth
from tests.faults.codes import codes
from xvar.core.covariance import Diagonal, Tikhonov
from xvar.core.dynamics import trajectory
from xvar.core.grid import Grid
from xvar.core.minimize import LBFGS, Reason
from xvar.core.models.advection import Advection
from xvar.core.norm import PseudoHuber
from xvar.core.observation import Component, Observation
from xvar.core.problem import ForcedSteps, Problem
from xvar.core.solve import Analysis, solve
from xvar.errors import InputError

FRAME = 300.0
GRID = Grid((40, 52), (800.0, 1000.0))


def places(grid: Grid) -> Tensor:
    """(2, y, x): metres along x and y from the middle of the grid."""
    (height, width), (dy, dx) = grid.shape, grid.spacing
    y = (torch.arange(height, dtype=torch.float64) - (height - 1) / 2) * dy
    x = (torch.arange(width, dtype=torch.float64) - (width - 1) / 2) * dx
    return torch.stack((x.expand(height, width), y[:, None].expand(height, width)))


def clouds(where: Tensor, grid: Grid, seed: int, *, count: int, smallest: float, share: float) -> Tensor:
    """An image (1, 1, y, x) of round clouds in the middle `share` of the domain, at any places."""
    numbers = generator(seed)
    extent = torch.tensor(grid.shape[::-1]) * torch.tensor(grid.spacing[::-1], dtype=torch.float64)
    centre = (torch.rand(count, 2, generator=numbers, dtype=torch.float64) - 0.5) * share * extent
    height = torch.randn(count, generator=numbers, dtype=torch.float64)
    radius = smallest * (1 + 0.6 * torch.rand(count, generator=numbers, dtype=torch.float64))
    distance = (where[None] - centre[:, :, None, None]).square().sum(1)
    return (height[:, None, None] * torch.exp(-distance / (2 * radius[:, None, None] ** 2))).sum(0)[None, None]


def origins(motion: Callable[[Tensor], Tensor], where: Tensor, seconds: float) -> Tensor:
    """Origins of the parcels of a steady motion, by many small Runge-Kutta steps."""
    count = 40
    h = -seconds / count
    for _ in range(count):
        first = motion(where)
        second = motion(where + h / 2 * first)
        third = motion(where + h / 2 * second)
        where = where + h / 6 * (first + 2 * second + 2 * third + motion(where + h * third))
    return where


def frames_of(motion: Callable[[Tensor], Tensor], grid: Grid = GRID, seed: int = 1, **cloud: Any) -> list[Tensor]:
    settings = {"count": 45, "smallest": 2500.0, "share": 0.9, **cloud}
    return [clouds(origins(motion, places(grid), FRAME * index), grid, seed, **settings) for index in range(4)]


def motion_problem(
    frames: list[Tensor],
    prior: Tikhonov,
    std: float,
    grid: Grid = GRID,
    dtype: torch.dtype = torch.float64,
    **advection: Any,
) -> Problem:
    """The first frame is exact, the others are observed; the background is at rest."""
    windows = len(frames[0])
    return Problem(
        grid=grid,
        dynamics=Advection(**{"sampler": "cubic", "motion": "steady", **advection}),
        steps=(FRAME,) * (len(frames) - 1),
        background={
            "velocity": torch.zeros(windows, 2, *grid.shape, dtype=dtype),
            "tracer": frames[0].to(dtype),
        },
        background_error={"velocity": prior},
        observations=tuple(
            Observation(FRAME * index, Component("tracer"), frame.to(dtype), torch.tensor(std, dtype=dtype))
            for index, frame in enumerate(frames)
            if index > 0
        ),
    )


def uniform(place: Tensor) -> Tensor:
    """0.7 and -0.5 of a cell a frame."""
    return torch.stack((torch.full_like(place[0], 2.4), torch.full_like(place[1], -1.3)))


def rotation(place: Tensor) -> Tensor:
    """A vortex that turns as a solid body in its middle, and crosses 0.6 of a cell a frame at most."""
    rate = 3.5e-4 * torch.exp(-place.square().sum(0) / (2 * 9000.0**2))
    return torch.stack((-place[1] * rate, place[0] * rate))


def deformation(place: Tensor) -> Tensor:
    rate = 3e-4 * torch.exp(-place.square().sum(0) / (2 * 9000.0**2))
    return torch.stack((place[0] * rate, -place[1] * rate))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sampler", ["cubic", "bilinear"])
def test_a_translation_is_recovered(sampler: str, dtype: torch.dtype) -> None:
    frames = frames_of(uniform, count=14, smallest=2000.0, share=0.5)
    prior = Tikhonov(gradient=0.0, curvature=1e17, mean_std=10.0)
    analysis = solve(motion_problem(frames, prior, 0.03, dtype=dtype, sampler=sampler), LBFGS(max_evaluations=60))
    assert relative(analysis.trajectory[0]["velocity"], uniform(places(GRID))[None]) < 0.01
    assert analysis.trajectory[0]["velocity"].dtype == dtype


@pytest.mark.parametrize("motion", [rotation, deformation])
def test_a_rotation_and_a_deformation_are_recovered(motion: Callable[[Tensor], Tensor]) -> None:
    prior = Tikhonov(gradient=0.0, curvature=1e11, mean_std=10.0)
    analysis = solve(motion_problem(frames_of(motion), prior, 0.02), LBFGS(max_evaluations=120, gtol=1e-7, ftol=0))
    assert relative(analysis.trajectory[0]["velocity"], motion(places(GRID))[None]) < 0.08


WOVEN = Grid((64, 64), (1000.0, 1000.0))


def far(place: Tensor) -> Tensor:
    """6 and -5 cells a frame."""
    return torch.stack((torch.full_like(place[0], 6000 / FRAME), torch.full_like(place[1], -5000 / FRAME)))


def far_problem() -> Problem:
    """A wide cloud with a texture that repeats every 8 cells: a motion of -2 and 3 cells a frame looks much alike."""
    frames = []
    for index in range(3):
        x, y = origins(far, places(WOVEN), FRAME * index)
        texture = 1 + torch.cos(2 * math.pi * x / 8000) * torch.cos(2 * math.pi * y / 8000)
        frames.append((texture * torch.exp(-(x * x + y * y) / (2 * 9000.0**2)))[None, None])
    prior = Tikhonov(gradient=1e7, mean_std=30.0, pixel_area=1e6)
    return motion_problem(frames, prior, 0.1, WOVEN, sampler="bilinear")


def test_displacements_larger_than_the_structures_need_coarse_grids() -> None:
    problem, truth = far_problem(), far(places(WOVEN))[None]
    minimizer = LBFGS(max_evaluations=60)
    fine = solve(problem, minimizer)
    assert relative(fine.trajectory[0]["velocity"], truth) > 0.5
    nested = solve(problem, minimizer, levels=(8, 4, 2, 1))
    assert relative(nested.trajectory[0]["velocity"], truth) < 0.02
    assert nested.minimum.cost < 0.05 * fine.minimum.cost
    assert nested.minimum.evaluations > len(nested.minimum.history)


@pytest.mark.parametrize("levels", [(), (2,), (4, 2), (4, 3, 1), (1, 2)])
def test_levels_divide_one_another_down_to_one(levels: tuple[int, ...]) -> None:
    with pytest.raises(InputError) as report:
        solve(far_problem(), levels=levels)
    assert codes(report.value) == ["levels"]


def batch(dtype: torch.dtype, grid: Grid = Grid((13, 18), (900.0, 1200.0)), windows: int = 4) -> Problem:  # noqa: B008
    """Windows of different motions; one of them is dry."""
    velocity = 2.5 * smooth((windows, 2, *grid.shape), 5, waves=1)
    frames = [5 * smooth((windows, 1, *grid.shape), 6)]
    model = Advection().bind(grid, dtype=torch.float64, device=torch.device("cpu"))
    states = trajectory(model, {"velocity": velocity, "tracer": frames[0]}, (FRAME,) * 3)
    frames += [state["tracer"] for state in states[1:]]
    for frame in frames:
        frame[2:3] = 0
    frames[2][0, 0, 3:6, 4:9] = torch.nan
    prior = Tikhonov(gradient=1e6, curvature=1e12, mean_std=5.0)
    problem = motion_problem(frames, prior, 0.1, grid, dtype, motion="inertial", sampler="bilinear")
    return replace(problem, observations=tuple(replace(one, norm=PseudoHuber(3.0)) for one in problem.observations))


def same_bits(one: Analysis, i: int, other: Analysis, j: int) -> bool:
    names = ("control", "cost", "gradient_norm", "evaluations", "reason")
    tensors = [(getattr(one.minimum, name), getattr(other.minimum, name)) for name in names]
    for first, second in zip(one.trajectory, other.trajectory, strict=True):
        tensors += [(first[key], second[key]) for key in first]
    tensors += [(one.increment[key], other.increment[key]) for key in one.increment]
    tensors += [(one.cost_background[key], other.cost_background[key]) for key in one.cost_background]
    tensors += [(one.cost_analysis[key], other.cost_analysis[key]) for key in one.cost_analysis]
    for step, forced in one.forcing.items():
        tensors += [(forced[key], other.forcing[step][key]) for key in forced]
    return all(torch.equal(first[i], second[j]) for first, second in tensors)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weak", [False, True])
def test_a_window_has_the_same_bits_alone_and_in_any_batch(weak: bool, dtype: torch.dtype) -> None:
    """On coarse grids first, with missing values, a robust norm, and windows that stop at different times."""
    problem = batch(dtype)
    if weak:
        error = ForcedSteps({"tracer": Diagonal(0.01), "velocity": Diagonal(0.01)}, ((0,), (1, 2)))
        problem = replace(problem, model_error=error)
    minimizer, levels = LBFGS(max_evaluations=40, ftol=2e-2), (4, 2, 1)
    together = solve(problem, minimizer, levels=levels)
    assert len(set(together.minimum.evaluations.tolist())) > 2
    for windows in ([0], [1], [2], [3], [3, 1], [2, 0, 1]):
        some = solve(problem.select(torch.tensor(windows)), minimizer, levels=levels)
        assert all(same_bits(some, place, together, window) for place, window in enumerate(windows))


def test_no_observations_give_the_background_to_the_bit_through_all_levels() -> None:
    problem = batch(torch.float64)
    nothing = torch.full((4, 1, 13, 18), torch.nan, dtype=torch.float64)
    problem = replace(
        problem,
        background={**problem.background, "velocity": smooth((4, 2, 13, 18), 7)},
        observations=tuple(replace(one, values=nothing, valid=None) for one in problem.observations),
    )
    for case in (problem, replace(problem, observations=())):
        analysis = solve(case, levels=(4, 2, 1))
        assert case.number_of_observations().tolist() == [0] * 4
        assert torch.equal(analysis.trajectory[0]["velocity"], problem.background["velocity"])
        assert torch.equal(analysis.trajectory[0]["tracer"], problem.background["tracer"])
        assert torch.equal(analysis.minimum.cost, torch.zeros(4, dtype=torch.float64))
        assert torch.equal(analysis.increment["velocity"], torch.zeros(4, 2, 13, 18, dtype=torch.float64))
        assert analysis.minimum.evaluations.tolist() == [3] * 4
        assert analysis.minimum.reason.tolist() == [Reason.GRADIENT] * 4


@pytest.mark.parametrize("dtype", DTYPES)
def test_j_is_never_negative_and_never_grows(dtype: torch.dtype) -> None:
    analysis = solve(batch(dtype), LBFGS(max_evaluations=40))
    history = torch.stack(analysis.minimum.history)
    assert (history >= 0).all()
    assert (history.diff(dim=0) <= 0).all()
    for stage in (analysis.cost_background, analysis.cost_analysis):
        assert all((term >= 0).all() for term in stage.values())
    rounding = 1e-12 if dtype == torch.float64 else 1e-5
    assert relative(sum(analysis.cost_background.values()), history[0]) < rounding
    assert relative(sum(analysis.cost_analysis.values()), analysis.minimum.cost) < rounding
    assert torch.equal(analysis.minimum.reason[2], torch.tensor(Reason.GRADIENT))
    assert torch.equal(analysis.minimum.control[2], torch.zeros_like(analysis.minimum.control[2]))


def flipped(problem: Problem, axis: int) -> Problem:
    """The mirror image of a problem; the component along the axis changes its sign."""

    def turn(key: str, values: Tensor) -> Tensor:
        return mirrored(values, axis) if key == "velocity" else values.flip(axis)

    return replace(
        problem,
        background={key: turn(key, values) for key, values in problem.background.items()},
        observations=tuple(
            replace(one, values=one.values.flip(axis), valid=one.mask.flip(axis)) for one in problem.observations
        ),
    )


def mirrored(velocity: Tensor, axis: int) -> Tensor:
    sign = velocity.new_tensor([-1.0, 1.0] if axis == -1 else [1.0, -1.0]).view(2, 1, 1)
    return velocity.flip(axis) * sign


@pytest.mark.parametrize("axis", [-1, -2])
@pytest.mark.parametrize("departure", ["arrival", "end_point", "midpoint", "two_level"])
def test_mirror_images_have_mirrored_analyses(departure: str, axis: int) -> None:
    """To rounding with the cubic sampler, which has no kink at rest; on coarse grids too, where the blocks fit."""
    problem = batch(torch.float64, Grid((12, 16), (900.0, 1200.0)), 2)
    advection = Advection(sampler="cubic", departure=departure, tracer_edges="zero")
    problem = replace(problem, dynamics=advection)
    for levels, evaluations in (((1,), 12), ((2, 1), 8)):
        minimizer = LBFGS(max_evaluations=evaluations)
        plain = solve(problem, minimizer, levels=levels).trajectory[0]["velocity"]
        turned = solve(flipped(problem, axis), minimizer, levels=levels).trajectory[0]["velocity"]
        assert relative(mirrored(turned, axis), plain) < 1e-10


@pytest.mark.parametrize("axis", [-1, -2])
def test_mirror_images_agree_with_the_bilinear_sampler_where_converged(axis: int) -> None:
    """An image and a motion first guessed between the grid points: all kinks are far."""
    grid = Grid((12, 16), (900.0, 1200.0))
    shift = torch.tensor([0.4 * 1200 / FRAME, -0.4 * 900 / FRAME], dtype=torch.float64).view(1, 2, 1, 1)
    first = {"velocity": shift.expand(2, 2, 12, 16).clone(), "tracer": 5 * smooth((2, 1, 12, 16), 6)}
    model = Advection(motion="steady")
    truth = {**first, "velocity": shift + 0.05 * smooth((2, 2, 12, 16), 5, waves=1)}
    states = trajectory(model.bind(grid, dtype=torch.float64, device=torch.device("cpu")), truth, (FRAME,) * 3)
    prior = Tikhonov(gradient=1e8, curvature=1e14, mean_std=0.1)
    problem = motion_problem([state["tracer"] for state in states], prior, 0.3, grid)
    problem = replace(problem, background=first, dynamics=model)
    minimizer = LBFGS(max_evaluations=300, gtol=1e-13, ftol=0)
    plain, turned = solve(problem, minimizer), solve(flipped(problem, axis), minimizer)
    for reason in (*plain.minimum.reason.tolist(), *turned.minimum.reason.tolist()):
        assert Reason(reason).converged
    found = relative(mirrored(turned.trajectory[0]["velocity"], axis), plain.trajectory[0]["velocity"])
    assert found < 1e-8  # J knows its minimum no better: its own digits end the line search


def test_analyses_agree_in_single_and_double_precision() -> None:
    frames = frames_of(uniform, count=14, smallest=2000.0, share=0.5)
    prior = Tikhonov(gradient=0.0, curvature=1e17, mean_std=10.0)
    minimizer = LBFGS(max_evaluations=60)
    double, single = (
        solve(motion_problem(frames, prior, 0.03, dtype=dtype), minimizer) for dtype in (torch.float64, torch.float32)
    )
    assert relative(single.trajectory[0]["velocity"], double.trajectory[0]["velocity"]) < 1e-3
    assert relative(sum(single.cost_background.values()), sum(double.cost_background.values())) < 1e-6


def test_a_window_without_finite_cost_keeps_its_background() -> None:
    problem = batch(torch.float64)
    spoilt = problem.background["tracer"].clone()
    spoilt[1, 0, 5, 5] = torch.nan
    minimizer = LBFGS(max_evaluations=15)
    plain = solve(problem, minimizer, levels=(2, 1))
    mixed = solve(replace(problem, background={**problem.background, "tracer": spoilt}), minimizer, levels=(2, 1))
    assert mixed.minimum.reason[1] == Reason.DIVERGED
    assert torch.equal(mixed.increment["velocity"][1], torch.zeros(2, 13, 18, dtype=torch.float64))
    assert all(same_bits(plain, window, mixed, window) for window in (0, 2, 3))


def test_coarse_grids_conserve_means() -> None:
    """A uniform increment goes from level to level as it is; the mass of an image stays."""
    problem = batch(torch.float64)
    coarse = problem.coarsen(2)
    assert coarse.grid.shape == (7, 9)
    assert coarse.grid.spacing == (1800.0, 2400.0)
    assert coarse.background["tracer"].shape == (4, 1, 7, 9)
    whole = problem.background["tracer"][..., :12, :].mean()
    assert math.isclose(float(coarse.background["tracer"][..., :6, :].mean()), float(whole), rel_tol=1e-12)
    assert problem.coarsen(1) is problem
    constant = replace(problem, background={**problem.background, "velocity": torch.full((4, 2, 13, 18), 3.0).double()})
    assert torch.equal(constant.coarsen(4).background["velocity"], torch.full((4, 2, 4, 5), 3.0).double())
