"""The cost J of a batch of windows, a sum of named terms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from typing import TypeVar

import torch
from torch import Tensor

from xvar.core.control import Block, ControlSpace
from xvar.core.covariance.base import Specification
from xvar.core.digital_filter import DigitalFilter
from xvar.core.dynamics import State, between, integrate, start
from xvar.core.grid import bind
from xvar.core.observation import Observation
from xvar.core.paths.along import along_paths
from xvar.core.problem import Problem

Value = TypeVar("Value")
Observed = list[tuple[Observation, State]]
Differentiated = tuple[dict[str, Tensor], Sequence[Tensor] | None]  # terms of J, its gradient by the stacked fields
Look = Callable[[int, Observed, State, State], Value]

#: Step of the difference for the curvature of J along its gradient, in standard deviations.
DIFFERENCE = 1e-3


class Cost:
    r"""J and its gradient with respect to the control v, a flat tensor (window, n).

    .. math::

        J(v) = \tfrac12 v^T v + \sum_k J_{o,k}(H_k(x_k)), \quad
        x_0 = x_b + B^{1/2} v_b, \quad x_{i+1} = M_i(x_i) + Q_i^{1/2} v_i

    Covariances and model are bound to the grid of the problem once. J of each window depends on its own control only,
    so the gradient of the sum holds the gradient of each.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.space = ControlSpace(problem)
        self.dynamics = bind(problem.dynamics, problem.grid, problem.like)
        self._penalties = [
            (name, component, penalty)
            for component, specification in problem.background_error.items()
            if isinstance(specification, Specification)
            for name, penalty in specification.penalties(problem.grid).items()
        ]
        self._seen = problem.observations_by_step()
        self._paths = None if self._penalties else along_paths(problem, self.dynamics)
        times = problem.times()
        self._filters = [(penalty, penalty.weights(times)) for penalty in problem.penalties]

    def select(self, windows: Tensor) -> Cost:
        """Return J of some windows; covariances and model stay bound."""
        part = copy(self)
        part.problem = self.problem.select(windows)
        part.space = self.space.select(windows, part.problem)
        part._seen = part.problem.observations_by_step()
        part._paths = None if self._paths is None else self._paths.select(windows)
        return part

    def zero(self) -> Tensor:
        """Return the control of the background."""
        return self.space.zero()

    def terms(self, control: Tensor, fields: Sequence[Tensor] | None = None) -> dict[str, Tensor]:
        """Return the terms of J by name, each (window,), of a control whose `fields` may be known."""
        return self._terms(control, self.space.fields(control) if fields is None else fields)

    def _prior_terms(self, control: Tensor) -> dict[str, Tensor]:
        departure = self._from_prior(control)
        terms: dict[str, Tensor] = {}
        for block in self.space.blocks:
            name = self._term(block)
            part = 0.5 * departure[:, block.begin : block.end].square().sum(1)
            terms[name] = terms[name] + part if name in terms else part
        return terms

    def _terms(self, control: Tensor, fields: Sequence[Tensor]) -> dict[str, Tensor]:
        terms = self._prior_terms(control)
        for name, penalty in self.penalties(fields):
            terms[name] = terms.get(name, 0) + penalty
        # The compiled loop has no graph: who differentiates the terms differentiates the model.
        if self._paths is None or any(field.requires_grad for field in fields):
            terms.update(self._along_trajectory(fields))
        else:
            terms["observation"] = self._paths(self.space.initial_state(fields))
        return terms

    def _from_prior(self, control: Tensor) -> Tensor:
        """Return a control minus the mean of its prior."""
        return control if self.problem.prior is None else control - self.problem.prior

    def _term(self, block: Block) -> str:
        """Return the name of the term of J for the prior of a part of the control."""
        if block.steps or block.name in self.problem.held_errors:
            return "model_error"
        return "parameters" if block.name in self.problem.parameters else "background"

    def penalties(self, fields: Sequence[Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Yield the penalties of the covariances, terms of J that are quadratic in the increment, each (window,)."""
        increment = self.space.increment(fields)
        for name, component, penalty in self._penalties:
            yield name, penalty(increment[component])

    def _integrate(self, fields: Sequence[Tensor], look: Look[Value], *, checkpoint: bool = False) -> list[Value]:
        """Integrate the model, and return the values of `look` at all states, the initial one first.

        `look` is called with the index of the step, the observations with the states that they observe, and the state
        before and after observations have replaced values of it.
        """

        def visit(index: int, before: State, after: State) -> tuple[State, Value]:
            observed, moved = [], after
            for observation, share in self._seen.get(index, ()):
                observed.append((observation, after if share == 1 else between(before, after, share)))
                moved = observation.insert(moved)
            return moved, look(index, observed, after, moved)

        state = start(self.dynamics, self.space.initial_state(fields))
        state, first = visit(-1, state, state)
        steps, forcing = self.problem.steps, self.space.forcing(fields)
        _, values = integrate(self.dynamics, state, steps, visit, forcing=forcing, checkpoint=checkpoint)
        return [first, *values]

    def _along_trajectory(self, fields: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the terms of J that need the model: penalties on the trajectory, and observations."""
        none = self.problem.like.new_zeros(self.problem.windows)

        def look(index: int, observed: Observed, after: State, moved: State) -> tuple[Tensor, list[State]]:  # noqa: ARG001
            misfits = (observation.misfit(state) for observation, state in observed)
            return sum(misfits, none), self._weighted(index, after)

        values = self._integrate(fields, look, checkpoint=self.problem.checkpoint)
        terms: dict[str, Tensor] = {}
        for penalty, departure in self._departures([weighted for _, weighted in values]):
            terms[penalty.name] = terms.get(penalty.name, none) + penalty.misfit(departure)
        terms["observation"] = sum((misfit for misfit, _ in values[1:]), values[0][0])
        return terms

    def _weighted(self, index: int, state: State) -> list[State]:
        """Return the contribution of the state after a step to the departure of each penalty."""
        return [
            {key: weights[index + 1] * state[key] for key in penalty.std} if index + 1 in weights else {}
            for penalty, weights in self._filters
        ]

    def _departures(self, weighted: Sequence[Sequence[State]]) -> Iterator[tuple[DigitalFilter, State]]:
        """Yield each penalty with its departure."""
        for position, (penalty, _) in enumerate(self._filters):
            parts = [states[position] for states in weighted if states[position]]
            yield penalty, {key: sum(part[key] for part in parts) for key in penalty.std}  # type: ignore[misc]

    def trajectory(self, control: Tensor, *, as_observed: bool = False) -> list[State]:
        """Return the states at all steps, the initial one first, without gradients.

        If observations replace values of the state, the states are those after it; `as_observed` before it.
        """
        with torch.no_grad():
            fields = self.space.fields(control)
            return self._integrate(fields, lambda index, observed, after, moved: after if as_observed else moved)

    def value(self, control: Tensor) -> Tensor:
        """Return J of each window (window,)."""
        return total(self.terms(control))

    def gradient(
        self, control: Tensor, callback: Callable[[dict[str, Tensor]], object] | None = None
    ) -> tuple[Tensor, Tensor]:
        r"""Return J (window,) and its gradient with respect to the control (window, n); `callback` gets the terms of J.

        Autograd, or the adjoint by hand of `AlongPaths`, differentiates with respect to the fields; :math:`B^{1/2}` has
        its own adjoint: :math:`\nabla J = v + B^{T/2} \nabla_x (J - \tfrac12 v^T v)`.
        """
        control = control.detach()
        terms, sensitivities = (self._by_autograd if self._paths is None else self._by_hand)(control)
        if callback is not None:
            callback(terms)
        with torch.no_grad():
            gradient = self._from_prior(control)
            if sensitivities is None:  # no observations
                return total(terms), gradient.clone()
            return total(terms).detach(), self.space.sqrt_transpose(sensitivities).add_(gradient)

    def _by_autograd(self, control: Tensor) -> Differentiated:
        """Return the terms of J, and the gradient of their sum by the stacked fields."""
        with torch.no_grad():
            stacked = self.space.sqrt(control)
        with torch.enable_grad():
            terms = self._terms(control, self.space.split([part.requires_grad_() for part in stacked]))
            cost = total(terms)
            if not cost.requires_grad:
                return terms, None
            return terms, torch.autograd.grad(cost.sum(), stacked, materialize_grads=True)

    def _by_hand(self, control: Tensor) -> Differentiated:
        """Return the same of images along paths."""
        assert self._paths is not None
        with torch.no_grad():
            names = [block.name for block in self.space.blocks]
            cost, by_state = self._paths.gradient(self.space.initial_state(self.space.fields(control)), names)
            terms = self._prior_terms(control) | {"observation": cost}
            return terms, self.space.merge([by_state[name] for name in names])

    def residuals(self, fields: Sequence[Tensor]) -> list[tuple[Observation | DigitalFilter, Tensor]]:
        """Return every observation and penalty with its residual over its standard deviation."""
        found: list[tuple[Observation | DigitalFilter, Tensor]] = []

        def look(index: int, observed: Observed, after: State, moved: State) -> list[State]:  # noqa: ARG001
            found.extend((observation, observation.residual(state)) for observation, state in observed)
            return self._weighted(index, after)

        for penalty, departure in self._departures(self._integrate(fields, look)):
            found.append((penalty, penalty.residual(departure)))
        return found

    def inverse_hessian(self) -> Tensor | None:
        """Approximate the diagonal of the inverse Hessian of J at the background (window, n).

        None if no curvature is known or measured.
        """
        problem, blocks = self.problem, [block for block in self.space.blocks if not block.steps]
        known = problem.curvature
        if not known and not problem.measured:
            return None
        diagonal = torch.ones_like(self.zero())
        for block in blocks:
            if block.name in known:
                shape = tuple(problem.background[block.name].shape)
                part = block.covariance.inverse_hessian(known[block.name], shape)
                if part is not None:
                    diagonal[:, block.begin : block.end] = part.flatten(1)
        wanted = {*problem.parameters, *problem.measured} - set(known)
        if unknown := [block for block in blocks if block.name in wanted]:
            self._measure(unknown, diagonal)
        return diagonal

    def _measure(self, blocks: Sequence[Block], diagonal: Tensor) -> None:
        """Measure the curvature of blocks along their gradient by a difference.

        A negative curvature counts by its size, as a limit of the first step: a step by the gradient alone may move
        images off the grid, where the gradient is zero (Dauphin et al. 2014, arXiv:1406.2572).
        """
        start = self.zero()
        _, slopes = self.gradient(start)
        for block in blocks:
            own = slice(block.begin, block.end)
            slope = slopes[:, own]
            along = slope / slope.square().sum(1, keepdim=True).sqrt().clamp_min(torch.finfo(slope.dtype).tiny)
            moved = start.clone()
            moved[:, own] = DIFFERENCE * along
            _, found = self.gradient(moved)
            bent = ((found[:, own] - slope) * along).sum(1, keepdim=True) / DIFFERENCE
            diagonal[:, own] = torch.where(bent.isfinite(), 1 / bent.abs().clamp_min(1.0), 1.0)


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """Return the sum of the terms of J."""
    first, *others = terms.values()
    return sum(others, first)
