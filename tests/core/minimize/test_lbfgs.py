from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from tests.core.numerics import random, relative
from xvar.core.minimize import LBFGS, Minimum, Reason

Value = Callable[[Tensor, Tensor], Tensor]


class Function:
    """J of each window and its gradient by autograd, with a record of the evaluations."""

    def __init__(self, value: Value) -> None:
        self.value = value
        self.asked: list[tuple[Tensor, Tensor, Tensor]] = []

    def __call__(self, control: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
        control = control.detach().requires_grad_()
        cost = self.value(control, windows)
        (gradient,) = torch.autograd.grad(cost.sum(), control)
        self.asked.append((windows.clone(), control.detach().clone(), cost.detach().clone()))
        return cost.detach(), gradient

    def costs(self, window: int) -> Tensor:
        """J of a window at every evaluation, in order."""
        return torch.cat([cost[windows == window] for windows, _, cost in self.asked])


def quadratics(count: int, size: int, condition: float, seed: int, dtype: torch.dtype = torch.float64) -> Any:
    """Convex quadratics with known minima: (value, minima, Hessians). Elementwise sums, which keep a window's bits."""
    hessians = []
    for window in range(count):
        basis = torch.linalg.qr(random((size, size), seed + window))[0]
        hessians.append(basis @ torch.diag(torch.logspace(0, torch.tensor(condition).log10(), size).double()) @ basis.T)
    hessian = torch.stack(hessians).to(dtype)
    minima = random((count, size), seed + 1000, dtype)

    def value(control: Tensor, windows: Tensor) -> Tensor:
        away = control - minima[windows]
        turned = (hessian[windows] * away[:, None]).flatten(0, 1).sum(1).view_as(away)
        return 0.5 * (away * turned).sum(1) + windows

    return value, minima, hessian


def rosenbrock(control: Tensor, windows: Tensor) -> Tensor:
    x, y = control[:, ::2], control[:, 1::2]
    return ((1 - x) ** 2 + 100 * (y - x * x) ** 2).sum(1)


EXACT = LBFGS(max_evaluations=2000, gtol=1e-13, ftol=0)


@pytest.mark.parametrize(
    ("dtype", "cost_within", "control_within"), [(torch.float64, 1e-10, 1e-6), (torch.float32, 1e-6, 1e-3)]
)
def test_quadratics_to_their_exact_minima(dtype: torch.dtype, cost_within: float, control_within: float) -> None:
    condition = 1e4 if dtype == torch.float64 else 1e2
    value, minima, _ = quadratics(5, 30, condition, 1, dtype)
    start = torch.zeros(5, 30, dtype=dtype)
    minimum = EXACT(Function(value), start)
    least = torch.arange(5)
    first = value(start, least)
    assert ((minimum.cost - least).abs() / first).max() < cost_within
    for window in range(5):
        assert relative(minimum.control[window], minima[window]) < control_within
        assert Reason(int(minimum.reason[window])).converged
    assert minimum.control.dtype == dtype


def test_a_known_inverse_hessian_ends_it_in_one_step() -> None:
    curvature = torch.logspace(0, 6, 20, dtype=torch.float64)
    minima = random((3, 20), 2)

    def value(control: Tensor, windows: Tensor) -> Tensor:
        return 0.5 * (curvature * (control - minima[windows]).square()).sum(1)

    start = torch.zeros(3, 20, dtype=torch.float64)
    known = LBFGS(gtol=1e-9, ftol=0)(Function(value), start, lambda: (1 / curvature).expand(3, 20))
    assert known.evaluations.tolist() == [2, 2, 2]
    assert relative(known.control, minima) < 1e-9
    unknown = LBFGS(gtol=1e-9, ftol=0)(Function(value), start)
    assert (unknown.evaluations > 20).all()


def test_a_first_step_that_hardly_lowers_j_is_not_the_end() -> None:
    def value(control: Tensor, windows: Tensor) -> Tensor:
        return 0.5 * (control[:, 0].square() + 1e4 * control[:, 1].square())

    start = torch.tensor([[10.0, 0.01]], dtype=torch.float64)
    minimum = LBFGS(gtol=0, ftol=0.05)(Function(value), start, lambda: torch.ones_like(start))
    assert (minimum.history[0] - minimum.history[1]) / minimum.history[1] < 0.05
    assert minimum.cost < 0.1 * minimum.history[1]


@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_the_mean_decrease_of_the_last_iterations_ends_it(iterations: int) -> None:
    start = torch.tensor([[-1.2, 1.0] * 3], dtype=torch.float64)
    settings = LBFGS(gtol=0, ftol=0.08, ftol_iterations=iterations)
    minimum = settings(Function(rosenbrock), start)
    assert int(minimum.reason) == Reason.DECREASE
    history = torch.cat(minimum.history)
    means = (history[1:-iterations] - history[1 + iterations :]) / iterations  # without the first iteration
    is_small = means <= settings.ftol * history[1 + iterations :]
    assert is_small.tolist() == [False] * (len(is_small) - 1) + [True]


def test_a_known_error_of_the_inverse_hessian_is_in_the_first_step() -> None:
    value, minima, _ = quadratics(2, 8, 1.0, 5)
    start, diagonal = torch.zeros(2, 8, dtype=torch.float64), torch.full((2, 8), 50.0, dtype=torch.float64)
    minimum = LBFGS(gtol=1e-9, ftol=0, first_step=0.02)(Function(value), start, lambda: diagonal)
    assert minimum.evaluations.tolist() == [2, 2]
    assert relative(minimum.control, minima) < 1e-9
    assert (LBFGS(gtol=1e-9, ftol=0)(Function(value), start, lambda: diagonal).evaluations > 2).all()


def test_an_inverse_hessian_that_is_wrong_still_leads_to_the_minimum() -> None:
    value, minima, hessian = quadratics(3, 12, 1e3, 3)
    diagonal = torch.stack([1 / matrix.diagonal() for matrix in hessian]) * random((3, 12), 4).exp()
    minimum = EXACT(Function(value), torch.zeros(3, 12, dtype=torch.float64), lambda: diagonal)
    assert relative(minimum.control, minima) < 1e-6


def test_rosenbrock() -> None:
    function = Function(rosenbrock)
    start = torch.tensor([[-1.2, 1.0] * 3, [2.0, -3.0] * 3, [0.0, 0.0] * 3], dtype=torch.float64)
    minimum = LBFGS(max_evaluations=200, gtol=1e-10, ftol=0)(function, start)
    assert (minimum.control - 1).abs().max() < 1e-8
    assert (minimum.evaluations < 80).all()
    assert all(Reason(int(reason)).converged for reason in minimum.reason)


def test_the_reported_cost_and_gradient_are_those_of_the_control() -> None:
    value, _, _ = quadratics(4, 10, 1e3, 5)
    function = Function(value)
    minimum = LBFGS(max_evaluations=12)(function, torch.zeros(4, 10, dtype=torch.float64))
    cost, gradient = function(minimum.control, torch.arange(4))
    assert (cost - minimum.cost).abs().max() < 1e-12
    assert (gradient.norm(dim=1) - minimum.gradient_norm).abs().max() < 1e-10
    function.asked.pop()
    assert minimum.evaluations.tolist() == [len(function.costs(window)) for window in range(4)]
    assert torch.equal(minimum.history[0], function.asked[0][2])
    assert torch.equal(minimum.history[-1], minimum.cost)


def check_invariants(function: Function, minimum: Minimum, allowed: int) -> None:
    """Properties for any function."""
    history = torch.stack(minimum.history)
    for window in range(history.shape[1]):
        costs = function.costs(window)
        start, found = history[0, window], minimum.cost[window]
        assert torch.equal(start, costs[0])
        assert minimum.evaluations[window] == len(costs) <= allowed
        if not start.isfinite():
            assert minimum.reason[window] == Reason.DIVERGED
            continue
        falls = history[1:, window] - history[:-1, window]
        assert (falls <= 0).all()
        assert found == history[-1, window]
        lowest = costs[costs.isfinite()].min()
        # Armijo's rule may pass by a trial that lowers J by less than it asks for
        assert found <= lowest + 1e-3 * (start - lowest) + 1e-12 * start.abs()
        assert minimum.control[window].isfinite().all()
        reason = Reason(int(minimum.reason[window]))
        assert (len(costs) == allowed) or reason != Reason.EVALUATIONS


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(["convex", "rosenbrock", "waves", "quartic", "cliff", "kinks", "unbounded"]),
    windows=st.integers(1, 4),
    size=st.integers(1, 4),
    allowed=st.integers(1, 40),
    memory=st.integers(1, 6),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
)
def test_invariants(seed: int, kind: str, windows: int, size: int, allowed: int, memory: int, scale: float) -> None:
    size *= 2
    weights, centre = random((4, size), seed).exp(), random((4, size), seed + 1)

    def value(control: Tensor, which: Tensor) -> Tensor:
        away, weight = control - centre[which], weights[which]
        return (
            scale
            * {
                "convex": lambda: (weight * away.square()).sum(1),
                "rosenbrock": lambda: rosenbrock(control, which),
                "waves": lambda: (weight * torch.sin(3 * away) + 0.1 * away.square()).sum(1),
                "quartic": lambda: (away**4 - weight * away.square()).sum(1),
                "cliff": lambda: (weight * away - torch.log(1 + away.square().sum(1, keepdim=True) - away.abs())).sum(
                    1
                ),
                "kinks": lambda: (weight * away.abs()).sum(1),
                "unbounded": lambda: -(weight * away.square()).sum(1),
            }[kind]()
        )

    function = Function(value)
    minimum = LBFGS(max_evaluations=allowed, history_size=memory)(function, 2 * random((windows, size), seed + 2))
    check_invariants(function, minimum, allowed)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("which", ["quadratic", "rosenbrock", "waves"])
def test_a_window_has_the_same_bits_alone_and_in_any_batch(which: str, dtype: torch.dtype) -> None:
    size = 38 if which == "quadratic" else 1500  # long enough for sums in blocks
    value: Value
    if which == "quadratic":
        value, _, _ = quadratics(6, size, 1e4, 6, dtype)
    elif which == "rosenbrock":
        value = rosenbrock
    else:
        value = lambda v, w: (torch.sin(3 * v) + 0.1 * v.square()).sum(1)  # noqa: E731
    start = random((6, size), 7, dtype)
    minimizer = LBFGS(max_evaluations=150, gtol=1e-3)
    together = minimizer(Function(value), start)
    assert len(set(together.evaluations.tolist())) > 1  # they stop at different times
    for batch in ([0], [1], [2], [5], [4, 0], [3, 1, 2]):
        chosen = torch.tensor(batch)
        some = minimizer(Function(lambda v, w, chosen=chosen: value(v, chosen[w])), start[chosen])
        for name in ("control", "cost", "gradient_norm", "evaluations", "reason"):
            assert torch.equal(getattr(some, name), getattr(together, name)[chosen])


@pytest.mark.parametrize("memory", [1, 7, 9, 13, 20, 33])
def test_the_bits_of_a_window_are_its_own_whatever_is_remembered(memory: int) -> None:
    # Small matrices of an odd side would begin anywhere in a cache line, and large ones take another way in a batch.
    value, start = waves_of(6, 150)
    minimizer = LBFGS(max_evaluations=80, history_size=memory)
    together = minimizer(Function(value), start)
    for window in range(6):
        chosen = torch.tensor([window])
        alone = minimizer(Function(lambda v, w, chosen=chosen: value(v, chosen[w])), start[chosen])
        assert torch.equal(alone.control, together.control[chosen])


def waves_of(windows: int, size: int) -> tuple[Value, Tensor]:
    """Quadratics with waves, in double precision, and first guesses."""
    curvature = torch.exp(3 * random((windows, size), 3, torch.float64))
    centre = random((windows, size), 4, torch.float64)

    def value(v: Tensor, w: Tensor) -> Tensor:
        residual = v - centre[w]
        return (0.5 * curvature[w] * residual.square() + torch.cos(3 * residual)).sum(1)

    return value, torch.zeros(windows, size, dtype=torch.float64)


@pytest.mark.parametrize("fault", ["nan", "inf", "nan after three", "nan away", "unbounded", "cliff"])
def test_a_window_that_fails_leaves_the_bits_of_the_others(fault: str) -> None:
    value, _, _ = quadratics(3, 8, 1e3, 8)
    start = torch.zeros(3, 8, dtype=torch.float64)
    seen = [0]

    def spoilt(control: Tensor, windows: Tensor) -> Tensor:
        seen[0] += 1
        cost = value(control, windows)
        away = (control - start[windows]).square().sum(1)
        bad = {
            "nan": cost + torch.nan,
            "inf": cost + torch.inf,
            "nan after three": cost + torch.nan if seen[0] > 3 else cost,
            "nan away": torch.where(away > 0, torch.nan, cost),
            "unbounded": -away - control.sum(1),
            "cliff": torch.where(away > 1e-4, torch.nan, cost),
        }[fault]
        return torch.where(windows == 1, bad, cost)

    minimizer = LBFGS(max_evaluations=80)
    plain, mixed = minimizer(Function(value), start), minimizer(Function(spoilt), start)
    for name in ("control", "cost", "gradient_norm", "evaluations", "reason"):
        assert torch.equal(getattr(plain, name)[[0, 2]], getattr(mixed, name)[[0, 2]])
    assert mixed.control.isfinite().all()


def test_an_undefined_start_is_returned_as_diverged() -> None:
    for bad in (torch.nan, torch.inf):
        minimum = LBFGS()(Function(lambda v, w, bad=bad: v.sum(1) * 0 + bad), torch.ones(2, 3))
        assert minimum.reason.tolist() == [Reason.DIVERGED] * 2
        assert minimum.evaluations.tolist() == [1, 1]
        assert torch.equal(minimum.control, torch.ones(2, 3))
    # a gradient that is not finite is as bad as a J that is not
    minimum = LBFGS()(lambda v, w: (v.sum(1), torch.full_like(v, torch.nan)), torch.ones(2, 3))
    assert minimum.reason.tolist() == [Reason.DIVERGED] * 2


def test_the_best_iterate_is_kept_if_j_becomes_undefined() -> None:
    """J is defined at the first four trial points only."""
    calls = [0]

    def value(control: Tensor, windows: Tensor) -> Tensor:
        calls[0] += 1
        cost = rosenbrock(control, windows)
        return cost * torch.nan if calls[0] > 4 else cost

    function = Function(value)
    minimum = LBFGS()(function, torch.tensor([[-1.2, 1.0]], dtype=torch.float64))
    assert minimum.reason.tolist() == [Reason.DIVERGED]
    costs = function.costs(0)
    assert minimum.cost[0] == costs[costs.isfinite()].min()
    assert minimum.cost[0] < costs[0]
    assert rosenbrock(minimum.control, torch.zeros(1))[0] == pytest.approx(float(minimum.cost[0]), rel=1e-12)


@pytest.mark.parametrize("allowed", range(1, 30))
def test_the_evaluations_are_a_limit_and_the_best_of_them_is_returned(allowed: int) -> None:
    function = Function(rosenbrock)
    start = torch.tensor([[-1.2, 1.0], [3.0, -4.0]], dtype=torch.float64)
    minimum = LBFGS(max_evaluations=allowed, gtol=0, ftol=0)(function, start)
    assert minimum.evaluations.tolist() == [allowed] * 2
    assert minimum.reason.tolist() == [Reason.EVALUATIONS] * 2
    for window in range(2):
        assert minimum.cost[window] == function.costs(window).min()
    assert (rosenbrock(minimum.control, torch.arange(2)) - minimum.cost).abs().max() < 1e-10


def test_reasons() -> None:
    value, minima, _ = quadratics(1, 6, 10, 9)
    start = torch.zeros(1, 6, dtype=torch.float64)
    first = torch.autograd.functional.jacobian(lambda v: value(v, torch.tensor([0])).sum(), start).norm()

    small = LBFGS(gtol=1e-3, ftol=0)(Function(value), start)
    assert small.reason.tolist() == [Reason.GRADIENT]
    assert small.gradient_norm[0] <= 1e-3 * first
    assert small.evaluations < LBFGS(gtol=1e-9, ftol=0)(Function(value), start).evaluations

    shallow = LBFGS(gtol=0, ftol=1e-2)(Function(lambda v, w: value(v, w) + 1), start)
    assert shallow.reason.tolist() == [Reason.DECREASE]
    falls = torch.stack(shallow.history).flatten().diff().neg() / torch.stack(shallow.history).flatten()[1:]
    assert falls[-1] <= 1e-2
    assert (falls[:-1] > 1e-2).all()

    precise = LBFGS(gtol=0, ftol=0, max_evaluations=500)(Function(lambda v, w: value(v, w) + 1e3), start)
    assert precise.reason.tolist() == [Reason.PRECISION]
    assert relative(precise.control, minima) < 1e-5

    at_rest = LBFGS()(Function(value), minima.clone())
    assert at_rest.reason.tolist() == [Reason.GRADIENT]
    assert at_rest.evaluations.tolist() == [1]
    assert torch.equal(at_rest.control, minima)

    assert [reason.converged for reason in Reason] == [True, True, True, False, False]


def test_the_first_guess_does_not_change() -> None:
    start = torch.ones(2, 4, dtype=torch.float64)
    LBFGS()(Function(rosenbrock), start - 3 * start)
    kept = start.clone()
    LBFGS()(Function(rosenbrock), start * 1.0)
    minimum = LBFGS(max_evaluations=5)(Function(lambda v, w: rosenbrock(v - 2, w)), start)
    assert torch.equal(start, kept)
    assert not torch.equal(minimum.control, start)


def test_a_batch_without_windows() -> None:
    minimum = LBFGS()(Function(rosenbrock), torch.zeros(0, 4))
    assert minimum.control.shape == (0, 4)
