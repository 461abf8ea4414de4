from __future__ import annotations

import torch
from torch import Tensor

from tests.core.moving import FRAME, moving, vector
from tests.core.numerics import smooth
from xvar.core.grid import Grid
from xvar.core.methods.image_problems import ImageProblems, ScaledImages, Smoothness, Transient
from xvar.core.methods.motion import damp_shortest, deviation
from xvar.core.minimize import LBFGS
from xvar.core.models.parcels import ImageAtParcels
from xvar.core.solve import solve

SMALL = Grid((40, 32), (1e3, 1e3))
TIMES = (0.0, FRAME, 2 * FRAME, 3 * FRAME)
RAIN = Transient(Smoothness(20.0, 200.0), lifetime=1.0, source_std=0.09, source_length=3.0, source_lifetime=1.5)


def scaled_images(images: Tensor) -> ScaledImages:
    return ScaledImages(images / deviation(images), TIMES, FRAME, SMALL, 0.2)


def test_the_first_loop_compares_the_ages_that_are_asked_for_and_the_second_the_newest_pair() -> None:
    images, velocity = moving(SMALL, TIMES, vector(4.0, -2.5))
    scaled = scaled_images(images)
    images = scaled.values
    for ages in (1, 2, 3, 9):
        seen = ImageProblems(ages=ages).steady_problem(scaled)
        assert [one.time for one in seen.observations] == [-FRAME * age for age in range(1, min(ages, 3) + 1)]
        assert seen.steps == (-FRAME,) * min(ages, 3)
        for age, one in enumerate(seen.observations, 1):
            assert isinstance(one.operator, ImageAtParcels)
            assert torch.equal(one.operator.image, images[:, -1 - age, None])
    about = ImageProblems().transient_problem(scaled, velocity, RAIN)
    assert [one.time for one in about.observations] == [-FRAME]
    assert torch.equal(about.observations[0].operator.image, damp_shortest(images)[:, -2, None])


def test_a_prior_in_cells_and_frames_is_the_same_in_any_metres_and_seconds() -> None:
    """The cost of a displacement in cells depends on neither the size of the cells nor the time between frames."""
    costs = []
    for cell, frame in ((1e3, 300.0), (250.0, 60.0), (9e3, 86400.0)):
        grid = Grid((16, 20), (cell, cell))
        operator = Smoothness(250.0, 2500.0, 30.0).in_metres(frame, grid.spacing, 1.0).bind(grid, dtype=torch.float64)
        cells = smooth((1, 2, 16, 20), 6) + 0.5
        velocity = cells * cell / frame
        costs.append(float((velocity * operator.solve(velocity)).sum()))
    assert max(costs) / min(costs) - 1 < 1e-9


def test_the_steady_loop_sees_its_problem_and_no_source() -> None:
    images, _ = moving(SMALL, TIMES, vector(4.0, -2.5))
    problem = ImageProblems().steady_problem(scaled_images(images))
    assert set(problem.background_error) == {"velocity"}
    result = solve(problem, LBFGS(max_evaluations=20), levels=(4, 2, 1))
    assert torch.equal(result.trajectory[0]["tracer"], problem.background["tracer"])
