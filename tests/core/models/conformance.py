"""The conformance tests of models; the test class of a model inherits them and states its cases."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.numerics import (
    DTYPES,
    adjoint_error,
    difference_error,
    random,
    relative,
    taylor_orders,
)
from xvar.core.cost import Cost
from xvar.core.dynamics import State, start, trajectory
from xvar.core.minimize import LBFGS
from xvar.core.problem import Problem
from xvar.core.solve import solve

DOT_PRODUCT = {torch.float64: 1e-13, torch.float32: 1e-7}


@dataclass(frozen=True)
class StepCase:
    """A model, an initial state, and steps of different lengths."""

    model: Callable[[torch.dtype], Any]
    state: Callable[[int, torch.dtype], State]  # of so many windows
    steps: tuple[float, ...]
    largest: float = 0.1  # perturbation, for each number of the state, that stays where it is
    difference: float = 1e-6


class Packed:
    """The states after some steps as a function of one flat vector, the initial state."""

    def __init__(self, case: StepCase, dtype: torch.dtype, steps: Sequence[float], windows: int = 2) -> None:
        self.model, self.steps = case.model(dtype), steps
        self.state = case.state(windows, dtype)
        self.point = torch.cat([values.flatten() for values in self.state.values()])

    def __call__(self, flat: Tensor) -> Tensor:
        parts = flat.split([values.numel() for values in self.state.values()])
        state = {key: part.view_as(self.state[key]) for key, part in zip(self.state, parts, strict=True)}
        state = start(self.model, state)
        for step in self.steps:
            state = self.model(state, step)
        return torch.cat([values.flatten() for values in state.values()])


class StepConformance(abc.ABC):
    """One step, and a few of them."""

    @pytest.fixture
    @abc.abstractmethod
    def case(self) -> StepCase: ...

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_a_step_keeps_names_shapes_and_precision_and_does_not_touch_its_input(
        self, case: StepCase, dtype: torch.dtype
    ) -> None:
        model = case.model(dtype)
        state = start(model, case.state(2, dtype))
        copies = {key: values.clone() for key, values in state.items()}
        first = model(state, case.steps[0])
        assert list(first) == list(state)
        assert all(torch.equal(state[key], copies[key]) for key in state)
        assert all((first[key].shape, first[key].dtype) == (state[key].shape, dtype) for key in state)
        again = model(state, case.steps[0])
        assert all(torch.equal(first[key], again[key]) for key in state)

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("count", [1, 3])
    def test_adjoint(self, case: StepCase, count: int, dtype: torch.dtype) -> None:
        function = Packed(case, dtype, case.steps[:count])
        direction, value = random(function.point.shape, 1, dtype), function(function.point)
        error = adjoint_error(function, function.point, direction, random(value.shape, 2, dtype))
        assert error < DOT_PRODUCT[dtype]

    @pytest.mark.parametrize("count", [1, 3])
    def test_adjoint_of_the_tangent_linear_by_differences(self, case: StepCase, count: int) -> None:
        function = Packed(case, torch.float64, case.steps[:count])
        dual = random(function(function.point).shape, 4)
        assert difference_error(function, function.point, random(function.point.shape, 3), dual, case.difference) < 1e-7

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_windows_alone_and_together_have_the_same_bits(self, case: StepCase, dtype: torch.dtype) -> None:
        model, state = case.model(dtype), case.state(3, dtype)

        def run(state: State) -> list[Tensor]:
            inputs = {key: values.clone().requires_grad_() for key, values in state.items()}
            now = start(model, inputs)
            for step in case.steps:
                now = model(now, step)
            dual = sum(values.sin().flatten(1).sum(1) for values in now.values())
            return [*(values.detach() for values in now.values()), *torch.autograd.grad(dual.sum(), inputs.values())]

        together = run(state)
        for window in range(3):
            alone = run({key: values[window : window + 1] for key, values in state.items()})
            for one, among in zip(alone, together, strict=True):
                assert torch.equal(one[0], among[window])


class SmoothStepConformance(StepConformance):
    """The same around a state at which the step is once differentiable: no point crosses a kink."""

    def test_taylor(self, case: StepCase) -> None:
        function = Packed(case, torch.float64, case.steps)
        goal = function(function.point) + random(function(function.point).shape, 5)
        for piece in (lambda x: (function(x) * goal).sum(), lambda x: 0.5 * (function(x) - goal).square().sum()):
            direction = random(function.point.shape, 6).clamp(-2, 2) / 2
            for found in taylor_orders(piece, function.point, direction, largest=case.largest):
                assert 1.9 < found < 2.1


class _Recorder:
    """An observation operator that records its output."""

    def __init__(self, operator: Any, record: list[Tensor]) -> None:
        self.operator, self.record = operator, record

    def __call__(self, state: State) -> Tensor:
        values: Tensor = self.operator(state)
        self.record.append(values.flatten())
        return values


class WindowConformance(abc.ABC):
    """The whole window: the model in a twin experiment, through the same `solve` as any other."""

    goal = 0.5
    """RMSE of the analysis over that of the background, for the component `truth` names, at most."""
    minimizer = LBFGS(max_evaluations=30)

    @abc.abstractmethod
    def problem(self, dtype: torch.dtype, windows: int = 3) -> Problem: ...

    @abc.abstractmethod
    def truth(self, dtype: torch.dtype, windows: int = 3) -> State:
        """Components of the true initial state that the analysis should come near."""

    def point(self, cost: Cost) -> Tensor:
        return 0.3 * random(cost.zero().shape, 7, cost.zero().dtype)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_adjoint_of_the_whole_window(self, dtype: torch.dtype) -> None:
        record: list[Tensor] = []
        problem = self.problem(dtype)
        seen = tuple(replace(one, operator=_Recorder(one.operator, record)) for one in problem.observations)
        cost = Cost(replace(problem, observations=seen))

        def function(control: Tensor) -> Tensor:
            record.clear()
            cost.value(control)
            return torch.cat(record)

        point = self.point(cost)
        value = function(point)
        assert value.numel() == sum(one.values.numel() for one in problem.observations)
        direction, dual = random(point.shape, 8, dtype), random(value.shape, 9, dtype)
        assert adjoint_error(function, point, direction, dual) < DOT_PRODUCT[dtype]
        if dtype == torch.float64:
            assert difference_error(function, point, direction, dual, 1e-6) < 1e-7

    def test_gradient_of_the_cost_by_differences(self) -> None:
        cost = Cost(self.problem(torch.float64))
        point = self.point(cost)
        direction = random(point.shape, 10)
        _, gradient = cost.gradient(point)
        h = 1e-6
        slope = (cost.value(point + h * direction) - cost.value(point - h * direction)) / (2 * h)
        expected = (gradient * direction).sum(1)
        assert ((slope - expected).abs() / (gradient.norm(dim=1) * direction.norm(dim=1))).max() < 1e-7

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_checkpoints_change_neither_cost_nor_gradient(self, dtype: torch.dtype) -> None:
        problem = self.problem(dtype)
        plain, recomputed = Cost(problem), Cost(replace(problem, checkpoint=True))
        for one, other in zip(plain.gradient(self.point(plain)), recomputed.gradient(self.point(plain)), strict=True):
            assert relative(other, one) < (1e-12 if dtype == torch.float64 else 1e-6)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_the_analysis_is_much_nearer_to_the_truth_than_the_background(self, dtype: torch.dtype) -> None:
        problem, truth = self.problem(dtype), self.truth(dtype)
        analysis = solve(problem, self.minimizer)
        for key, true in truth.items():
            error = (analysis.trajectory[0][key] - true).square().flatten(1).mean(1).sqrt()
            first = (problem.background[key] - true).square().flatten(1).mean(1).sqrt()
            assert (error < self.goal * first).all()

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_an_analysis_alone_and_in_a_batch_has_the_same_bits(self, dtype: torch.dtype) -> None:
        problem = self.problem(dtype)
        minimizer = LBFGS(max_evaluations=9)
        together = solve(problem, minimizer)
        for window in range(problem.windows):
            alone = solve(problem.select(torch.tensor([window])), minimizer)
            assert torch.equal(alone.minimum.control[0], together.minimum.control[window])
            assert torch.equal(alone.minimum.evaluations[0], together.minimum.evaluations[window])
            assert torch.equal(alone.minimum.reason[0], together.minimum.reason[window])
            for name, term in alone.cost_analysis.items():
                assert torch.equal(term[0], together.cost_analysis[name][window])
            for one, among in zip(alone.trajectory, together.trajectory, strict=True):
                assert all(torch.equal(one[key][0], among[key][window]) for key in one)

    def test_a_window_without_observations_is_the_background_to_the_bit(self) -> None:
        problem = self.problem(torch.float64)
        unseen = []
        for observation in problem.observations:
            values = observation.values.clone()
            values[1] = torch.nan
            unseen.append(replace(observation, values=values, valid=None))
        problem = replace(problem, observations=tuple(unseen))
        analysis = solve(problem, LBFGS(max_evaluations=10))
        assert problem.number_of_observations()[1] == 0
        assert (problem.number_of_observations()[[0, 2]] > 0).all()
        model = Cost(problem).dynamics
        forecast = trajectory(model, problem.background, problem.steps)
        for found, expected in zip(analysis.trajectory, forecast, strict=True):
            assert all(torch.equal(found[key][1], expected[key][1]) for key in expected)
            assert not any(torch.equal(found[key][0], expected[key][0]) for key in problem.background_error)
        assert analysis.minimum.evaluations[1] == 1
        assert analysis.minimum.cost[1] == 0


class SmoothWindowConformance(WindowConformance):
    """The same if J is once differentiable around `taylor_point`."""

    largest = 0.1
    """Perturbation of the control."""

    def taylor_point(self, cost: Cost) -> Tensor:
        return self.point(cost)

    def test_taylor_of_the_cost(self) -> None:
        cost = Cost(self.problem(torch.float64, 1))
        point = self.taylor_point(cost)
        direction = random(point.shape, 11)
        for found in taylor_orders(lambda v: cost.value(v).sum(), point, direction, largest=self.largest):
            assert 1.9 < found < 2.1
