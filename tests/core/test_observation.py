from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.numerics import DTYPES, adjoint_error, difference_error, generator, random, smooth, taylor_orders
from xvar.core.norm import Huber, Norm, PseudoHuber, Quadratic
from xvar.core.observation import Component, Compose, Logarithm, Observation, SquareRoot

SHAPE = (2, 3, 7, 10)
DOT_PRODUCT = {torch.float64: 1e-13, torch.float32: 1e-7}


@dataclass(frozen=True)
class Scaled:
    """An operator that depends on the window and on the grid."""

    factor: Tensor

    def __call__(self, values: Tensor) -> Tensor:
        return values * self.factor.to(values.dtype)

    def select(self, windows: Tensor) -> Scaled:
        return Scaled(self.factor[windows])

    def coarsen(self, factor: int) -> Scaled:
        return Scaled(self.factor / factor)


SCALED = Scaled(torch.tensor([0.5, 2.0]).view(2, 1, 1, 1))


OPERATORS: dict[str, Any] = {
    "component": Component("tracer"),
    "part": Component("tracer", (1, 2)),
    "root": Compose(Component("tracer"), SquareRoot(0.1)),
    "logarithm": Compose(Component("tracer"), Logarithm(0.5)),
    "all": Compose(Component("tracer", (0,)), SquareRoot(0.1), SCALED, Logarithm()),
}


def values(dtype: torch.dtype = torch.float64) -> Tensor:
    return 2 + smooth(SHAPE, 2, dtype).clamp(-1.8, 8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPERATORS)
def test_adjoint(name: str, dtype: torch.dtype) -> None:
    def function(flat: Tensor) -> Tensor:
        return OPERATORS[name]({"tracer": flat.view(SHAPE), "other": torch.ones(2)}).flatten()

    point = values(dtype).flatten()
    direction, dual = random(point.shape, 3, dtype), random(function(point).shape, 4, dtype)
    assert adjoint_error(function, point, direction, dual) < DOT_PRODUCT[dtype]
    assert function(point).dtype == dtype
    if dtype == torch.float64:
        assert difference_error(function, point, direction, dual, 1e-6) < 1e-7


@pytest.mark.parametrize("name", ["root", "logarithm", "all"])
def test_taylor(name: str) -> None:
    """Also where the root goes over into its tangent."""

    def function(flat: Tensor) -> Tensor:
        found = OPERATORS[name]({"tracer": flat.view(SHAPE)})
        return 0.5 * (found - random(found.shape, 21)).square().sum()

    found = taylor_orders(function, values().flatten(), random((math.prod(SHAPE),), 5).clamp(-1, 1), largest=0.03)
    assert all(1.9 < order < 2.1 for order in found)


@pytest.mark.parametrize("norm", [Quadratic(), PseudoHuber(0.7), Huber(0.7)])
def test_taylor_of_the_misfit(norm: Norm) -> None:
    observation = Observation(0.0, Component("tracer"), random(SHAPE, 6), torch.tensor(0.5).double(), norm)

    def function(flat: Tensor) -> Tensor:
        return observation.misfit({"tracer": flat.view(SHAPE)}).sum()

    found = taylor_orders(function, values().flatten(), random((math.prod(SHAPE),), 7), largest=0.03)
    assert all(1.9 < order < 2.1 for order in found)


def test_the_root_is_the_root_and_once_differentiable() -> None:
    x = torch.linspace(-1, 4, 501, dtype=torch.float64).requires_grad_()
    root = SquareRoot(0.25)(x)
    (slope,) = torch.autograd.grad(root.sum(), x)
    above = x > 0.25
    assert torch.equal(root[above], x[above].sqrt())
    assert (slope[above] - 0.5 / x[above].sqrt()).abs().max() < 1e-14
    assert (root[~above] - (0.25 + x[~above])).abs().max() < 1e-14  # the tangent at a quarter
    assert (slope[~above] - 1).abs().max() < 1e-14
    assert slope.isfinite().all()


def test_the_logarithm_of_nothing_is_nothing() -> None:
    found = Logarithm(0.5)(torch.tensor([-1.0, 0.0, 0.5, 3.5], dtype=torch.float64))
    assert (found - torch.tensor([0, 0, math.log(2), math.log(8)], dtype=torch.float64)).abs().max() < 1e-14


def test_composed_operators_are_selected_and_coarsened_each() -> None:
    windows = torch.tensor([1])
    operator = Compose(Component("tracer"), SquareRoot(), SCALED)
    state = {"tracer": values()}
    assert torch.equal(operator.select(windows)({"tracer": values()[windows]}), operator(state)[windows])
    assert operator.select(windows).operators[1] is operator.operators[1]
    assert torch.equal(operator.coarsen(2).operators[2].factor, SCALED.factor / 2)


@pytest.mark.parametrize("norm", [Quadratic(), PseudoHuber(0.5), PseudoHuber(1e3), Huber(0.5), Huber(1e3)])
def test_the_misfit_is_the_sum_of_the_norm_over_the_values(norm: Norm) -> None:
    state = values()
    seen, std = random(SHAPE, 10), 0.3 + torch.rand(SHAPE, generator=generator(11), dtype=torch.float64)
    found = Observation(0.0, Component("tracer"), seen, std, norm).misfit({"tracer": state})
    for window in range(2):
        residuals = ((state - seen) / std)[window].flatten()
        assert float(found[window]) == pytest.approx(float(sum(norm(r) for r in residuals)), rel=1e-10)


@pytest.mark.parametrize("missing", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("norm", [Quadratic(), PseudoHuber(1.0), Huber(1.0)])
@pytest.mark.parametrize("std", ["common", "each", "each-bad"])
def test_what_is_missing_is_as_if_dropped(missing: float, norm: Norm, std: str) -> None:
    seen = random(SHAPE, 12)
    holes = torch.rand(SHAPE, generator=generator(13)) < 0.3
    holes[1, 0] = True
    deviation = torch.full((), 0.5, dtype=torch.float64)
    if std != "common":
        deviation = 0.5 + torch.rand(SHAPE, generator=generator(14), dtype=torch.float64)
    if std == "each-bad":  # where nothing is observed its error is anything
        bad = torch.tensor([torch.nan, 0.0]).repeat(math.prod(SHAPE) // 2).view(SHAPE)
        deviation = torch.where(holes, bad, deviation)
    whole = Observation(0.0, Component("x"), torch.where(holes, missing, seen), deviation, norm)
    assert torch.equal(whole.count(), (~holes).flatten(1).sum(1))
    state = values().requires_grad_()
    misfit = whole.misfit({"x": state})
    (gradient,) = torch.autograd.grad(misfit.sum(), state)
    assert gradient.isfinite().all()
    assert torch.equal(gradient[holes], torch.zeros(int(holes.sum()), dtype=torch.float64))
    for window in range(2):
        kept = ~holes[window]

        def only(state: Any, kept: Tensor = kept) -> Tensor:
            return state["x"][:, kept]

        alone = state[window : window + 1].detach().requires_grad_()
        part = Observation(
            0.0,
            only,
            seen[window][kept][None],
            deviation if deviation.ndim == 0 else deviation[window][kept][None],
            norm,
        ).misfit({"x": alone})
        assert misfit[window].item() == pytest.approx(part.item(), rel=1e-13)
        (expected,) = torch.autograd.grad(part.sum(), alone)
        assert (gradient[window] - expected[0]).abs().max() < 1e-13


def test_the_observations_of_some_windows() -> None:
    """Standard deviations in every shape that may be broadcast to the values."""
    state, seen = random((3, 2, 4, 5), 15), random((3, 2, 4, 5), 16)
    seen[0, 0, 1, 1] = torch.nan
    for shape in ((), (1,), (5,), (4, 5), (2, 1, 1), (2, 4, 5), (1, 1, 1, 1), (3, 1, 1, 1), (3, 2, 4, 5)):
        std = 0.5 + torch.rand(shape, generator=generator(17), dtype=torch.float64)
        observation = Observation(0.0, Component("x"), seen, std, PseudoHuber(1.0))
        whole = observation.misfit({"x": state})
        for windows in ([0], [2], [2, 0], [0, 1, 2]):
            chosen = torch.tensor(windows)
            some = observation.select(chosen)
            assert torch.equal(some.misfit({"x": state[chosen]}), whole[chosen])
            assert torch.equal(some.count(), observation.count()[chosen])
            assert some.norm == PseudoHuber(1.0)


def test_a_coarser_grid_sees_the_mean_of_what_was_observed() -> None:
    seen = random((2, 1, 5, 6), 18)
    seen[0, 0, 0, 0] = torch.nan  # one of four: the mean of three
    seen[0, 0, 0:2, 2:4] = torch.nan  # all of them: not observed
    seen[1, 0, 2, 0:2] = torch.nan  # half: observed
    seen[1, 0, 2:4, 2] = seen[1, 0, 2, 3] = torch.nan  # three of four: not observed
    coarse = Observation(0.0, Component("x"), seen, torch.tensor(1.0).double()).coarsen(2)
    assert coarse.values.shape == (2, 1, 3, 3)
    blocks = [seen[:, 0, row : row + 2, column : column + 2] for row in (0, 2, 4) for column in (0, 2, 4)]
    expected = torch.stack([block.flatten(1).nanmean(1) for block in blocks], dim=1).view(2, 3, 3)
    valid = torch.ones(2, 3, 3, dtype=torch.bool)
    valid[0, 0, 1] = valid[1, 1, 1] = False
    assert torch.equal(coarse.mask[:, 0], valid)
    assert (coarse.values[:, 0] - expected)[valid].abs().max() < 1e-14
    for shape in ((), (6,), (5, 6), (1, 5, 6), (1, 1, 1, 1), (2, 1, 1, 1), (2, 1, 5, 6), (5, 1)):
        std = torch.full(shape, 0.7, dtype=torch.float64)
        found = Observation(0.0, Component("x"), seen, std).coarsen(2)
        residual = found.residual({"x": torch.zeros(2, 1, 3, 3, dtype=torch.float64)})
        assert (residual[:, 0] + expected / 0.7)[valid].abs().max() < 1e-14


def test_an_observation_replaces_its_component_where_it_is_valid() -> None:
    seen = random((2, 1, 4, 5), 19)
    seen[1, 0, :2] = torch.nan
    state = {"x": random((2, 1, 4, 5), 20), "other": torch.ones(2)}
    kept = state["x"].clone()
    after = Observation(0.0, Component("x"), seen, torch.tensor(1.0).double(), replaces="x").insert(state)
    assert torch.equal(after["x"], torch.where(seen.isfinite(), seen, kept))
    assert after["other"] is state["other"]
    assert torch.equal(state["x"], kept)
    assert Observation(0.0, Component("x"), seen, torch.tensor(1.0).double()).insert(state) is state
