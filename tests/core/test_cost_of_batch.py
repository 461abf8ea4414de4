from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.core.minimize.problems import smooth_problem
from tests.core.numerics import DTYPES, random, relative, smooth
from tests.core.problems import SIZE, linear
from xvar.core.cost import Cost
from xvar.core.covariance import Diagonal
from xvar.core.grid import Grid
from xvar.core.models.advection import Advection
from xvar.core.norm import PseudoHuber
from xvar.core.observation import Component, Observation
from xvar.core.problem import ForcedSteps, Problem
from xvar.core.solve import CostOfBatch


@pytest.mark.parametrize("dtype", DTYPES)
def test_selected_windows_have_the_bits_of_the_batch(dtype: torch.dtype) -> None:
    """With a standard deviation, a curvature and observations of each window's own."""
    std = 0.5 + random((4, 1, SIZE), 11).abs()
    observations = (
        Observation(0.4, Component("x"), random((4, 1, SIZE), 12, dtype), std.to(dtype)),
        Observation(
            0.75, Component("x"), random((4, 1, SIZE), 13, dtype), std[:, :, :1].to(dtype), norm=PseudoHuber(1.0)
        ),
    )
    problem = linear(
        observations,
        4,
        background_error={"x": Diagonal(std + 1)},
        model_error=ForcedSteps({"x": Diagonal(std)}, ((0, 1), (2,), (3,))),
    )
    problem = replace(problem, background={"x": problem.background["x"].to(dtype)})
    cost, of_batch = Cost(problem), CostOfBatch(problem)
    control = random(cost.zero().shape, 14, dtype)
    whole = cost.gradient(control)
    for windows in ([0, 1, 2, 3], [1], [2, 3], [3, 0, 1], [0, 1, 2, 3]):
        chosen = torch.tensor(windows)
        found = of_batch(control[chosen], chosen)
        alone = Cost(problem.select(chosen))
        assert all(torch.equal(one, among[chosen]) for one, among in zip(found, whole, strict=True))
        if len(windows) == 1:
            single = replace(
                problem.select(chosen),
                background_error={"x": Diagonal((std + 1)[chosen])},
                model_error=replace(problem.model_error, covariance={"x": Diagonal(std[chosen])}),
            )
            alone = Cost(single)
            assert all(torch.equal(one, two) for one, two in zip(found, alone.gradient(control[chosen]), strict=True))


def test_deviations_by_component_are_not_taken_for_windows() -> None:
    """(component, y, x) is broadcast over windows, however many there are."""
    grid = Grid((4, 5), (1.0, 1.0))
    std = 0.5 + random((2, 4, 5), 15).abs()
    observation = Observation(1.0, Component("velocity"), random((2, 2, 4, 5), 16), std)
    problem = Problem(
        grid, Advection(), (1.0,), {"velocity": smooth((2, 2, 4, 5), 17)}, {"velocity": Diagonal(std)}, (observation,)
    )
    of_batch = CostOfBatch(problem)
    control = random((2, 40), 18)
    whole = of_batch(control, torch.tensor([0, 1]))
    for window in range(2):
        found = of_batch(control[window : window + 1], torch.tensor([window]))
        assert all(torch.equal(one[0], among[window]) for one, among in zip(found, whole, strict=True))


def test_a_coarse_linearisation_selects_windows() -> None:
    """In a batch whose windows differ, about the same controls."""
    problem = smooth_problem()
    velocity = problem.background["velocity"] * torch.tensor([1.0, -2.0]).double().reshape(2, 1, 1, 1)
    problem = replace(problem, background={**problem.background, "velocity": velocity})
    cost, of_batch = Cost(problem), CostOfBatch(problem)
    every = torch.arange(problem.windows)
    control, direction = random(cost.zero().shape, 1), random(cost.zero().shape, 2)
    for factor in (1, 2):
        whole = of_batch.linearise(control, every, factor).product(direction)
        for window in every:
            part = of_batch.linearise(control[window : window + 1], window[None], factor)
            assert relative(part.product(direction[window : window + 1])[0], whole[window]) < 1e-10


def test_every_evaluation_reports_its_terms_and_windows() -> None:
    told = []

    class Told:
        def note(self, windows: torch.Tensor, terms: dict[str, torch.Tensor]) -> None:
            told.append((windows.tolist(), terms))

    problem = smooth_problem()
    of_batch = CostOfBatch(problem, Told())  # type: ignore[arg-type]
    control = random(of_batch.whole.zero().shape, 5)
    whole, _ = of_batch(control, torch.tensor([0, 1]))
    part, _ = of_batch(control[1:], torch.tensor([1]))
    assert [windows for windows, _ in told] == [[0, 1], [1]]
    for (_, terms), cost in zip(told, (whole, part), strict=True):
        assert set(terms) == {"background", "observation"}
        assert relative(sum(terms.values()).detach(), cost) < 1e-14
