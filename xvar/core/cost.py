"""The cost J of a batch of windows, as a sum of named terms of a control variable."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Any

import torch
from torch import Tensor

from xvar.core.covariance.base import Covariance, Specification
from xvar.core.covariance.spectral import SpectralCovariance, stack
from xvar.core.digital_filter import DigitalFilter
from xvar.core.dynamics import Forcing, State, integrate, start
from xvar.core.grid import Grid, block_mean, prolong
from xvar.core.observation import Observation
from xvar.core.problem import Problem

#: By which the curvature of J along a parameter is measured, in standard deviations.
DIFFERENCE = 1e-3


@dataclass(frozen=True)
class _Block:
    """One part of the control: what it is the square root of, and where it lies in the flat vector."""

    name: str
    covariance: Covariance
    shape: tuple[int, ...]  # of the control of one window
    begin: int
    end: int
    steps: tuple[int, ...] = ()  # in which a forcing acts; empty for the initial state


class _Stack:
    """Parts of the control that follow one another and share a transform, which takes all their components at once."""

    def __init__(self, blocks: Sequence[_Block]) -> None:
        self.blocks = blocks
        self.begin, self.end = blocks[0].begin, blocks[-1].end
        self.covariance, self.shape = blocks[0].covariance, blocks[0].shape
        self.components = [self.shape[0]]
        if len(blocks) > 1:
            self.components = [block.shape[0] for block in blocks]
            self.covariance = stack([(block.covariance, block.shape[0]) for block in blocks])  # type: ignore[misc]
            self.shape = (sum(self.components), *self.shape[1:])

    def sqrt(self, control: Tensor) -> Tensor:
        """What this part of the control (window, n) stands for."""
        return self.covariance.sqrt(control[:, self.begin : self.end].reshape(control.shape[0], *self.shape))

    def sqrt_transpose(self, fields: Tensor) -> Tensor:
        """The adjoint."""
        return self.covariance.sqrt_transpose(fields).flatten(1)

    def apart(self, fields: Tensor) -> tuple[Tensor, ...]:
        """The fields of each block."""
        return fields.split(self.components, dim=1) if len(self.blocks) > 1 else (fields,)


class Cost:
    r"""J and its gradient by the control v, a flat tensor (window, n).

    .. math::

        J(v) = \tfrac12 v^T v + \sum_k J_{o,k}(H_k(x_k)), \quad
        x_0 = x_b + B^{1/2} v_b, \quad x_{i+1} = M_i(x_i) + Q_i^{1/2} v_i

    The control of each window is its own, and so is its J: the gradient of their sum is the gradient of each.

    Parameters
    ----------
    problem : Problem
        The windows; covariances and model are bound to its grid here.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._like = next(iter(problem.background.values()))
        self.dynamics = bind(problem.dynamics, problem.grid, self._like)
        self._blocks = self._lay_out()
        self._stacks = _stacked(self._blocks)
        self._penalties = [
            (name, component, penalty)
            for component, specification in problem.background_error.items()
            if isinstance(specification, Specification)
            for name, penalty in specification.penalties(problem.grid).items()
        ]
        self._seen = _by_step(problem)
        times = problem.times()
        self._filters = [(penalty, penalty.weights(times)) for penalty in problem.penalties]

    def _lay_out(self) -> list[_Block]:
        groups: list[tuple[str, Any, tuple[int, ...]]] = [
            (name, specification, ()) for name, specification in self.problem.background_error.items()
        ]
        if self.problem.model_error is not None:
            for steps in self.problem.model_error.steps:
                groups.extend((name, part, steps) for name, part in self.problem.model_error.covariance.items())
        bound: dict[int, Covariance] = {}
        blocks: list[_Block] = []
        end = 0
        for name, specification, steps in groups:
            if id(specification) not in bound:
                bound[id(specification)] = bind(specification, self.problem.grid, self._like)
            covariance = bound[id(specification)]
            shape = tuple(covariance.control_shape(tuple(self.problem.background[name].shape)))[1:]
            begin, end = end, end + math.prod(shape)
            blocks.append(_Block(name, covariance, shape, begin, end, steps))
        return blocks

    def select(self, windows: Tensor) -> Cost:
        """J of some windows of the batch; what is bound to the grid is bound once."""
        part = copy(self)
        part.problem = self.problem.select(windows)
        part._like = next(iter(part.problem.background.values()))
        part._blocks = [replace(block, covariance=block.covariance.select(windows)) for block in self._blocks]
        part._stacks = _stacked(part._blocks)
        part._seen = _by_step(part.problem)
        return part

    @property
    def size(self) -> int:
        """Length of the control of one window."""
        return self._blocks[-1].end if self._blocks else 0

    def zero(self) -> Tensor:
        """The control of the background."""
        return self._like.new_zeros(self.problem.windows, self.size)

    def fields(self, control: Tensor) -> list[Tensor]:
        """What each part of the control stands for: increments, then model errors, before any scaling by time."""
        return self._apart([part.sqrt(control) for part in self._stacks])

    def _apart(self, stacked: Sequence[Tensor]) -> list[Tensor]:
        return [field for part, fields in zip(self._stacks, stacked, strict=True) for field in part.apart(fields)]

    def control(self, fields: list[Tensor]) -> Tensor:
        r"""The control of given `fields`: :math:`v = B^{-1/2} \delta x`."""
        parts = [
            # B^{-1/2} = B^{T/2} B^{-1} for any square root
            block.covariance.sqrt_transpose(block.covariance.solve(part)).flatten(1)
            for block, part in zip(self._blocks, fields, strict=True)
        ]
        return torch.cat(parts, dim=1) if parts else self.zero()

    def refine(self, coarse: Cost, control: Tensor, factor: int) -> Tensor:
        """The control of what a control stands for on a grid whose cells hold `factor` of this one's a side."""
        parts = []
        for block, coarser, field in zip(self._blocks, coarse._blocks, coarse.fields(control), strict=True):
            own = control[:, coarser.begin : coarser.end].reshape(-1, *coarser.shape)
            part = block.covariance.refine(coarser.covariance, own)
            if part is None:
                # B^{-1/2} = B^{T/2} B^{-1} for any square root
                whole = field.shape[-1] == 1  # a parameter, which is no field
                fine = field if whole else prolong(field, factor, self.problem.grid.shape)
                part = block.covariance.sqrt_transpose(block.covariance.solve(fine))
            parts.append(part.flatten(1))
        return torch.cat(parts, dim=1) if parts else self.zero()

    def embed(self, coarse: Cost, control: Tensor, factor: int) -> Tensor:
        """The control of what a control stands for on a coarser grid, linear and differentiable; see `refine`."""
        parts = []
        for block, coarser in zip(self._blocks, coarse._blocks, strict=True):
            own = control[:, coarser.begin : coarser.end].reshape(-1, *coarser.shape)
            part = block.covariance.embed(coarser.covariance, own)
            if part is None:
                field = coarser.covariance.sqrt(own)
                fine = field if field.shape[-1] == 1 else prolong(field, factor, self.problem.grid.shape)
                part = block.covariance.sqrt_transpose(block.covariance.solve(fine))
            parts.append(part.flatten(1))
        return torch.cat(parts, dim=1)

    def inverse_hessian(self) -> Tensor | None:
        """What is known of the diagonal of the inverse Hessian of J (window, n); None where nothing is."""
        known = self.problem.curvature
        if not known:
            return None
        diagonal = torch.ones_like(self.zero())
        for block in self._blocks:
            if not block.steps and block.name in known:
                shape = tuple(self.problem.background[block.name].shape)
                part = block.covariance.inverse_hessian(known[block.name], shape)
                if part is not None:
                    diagonal[:, block.begin : block.end] = part.flatten(1)
        unknown = [block for block in self._blocks if block.name in self.problem.parameters and block.name not in known]
        if unknown:
            self._measure(unknown, diagonal)
        return diagonal

    def _measure(self, blocks: Sequence[_Block], diagonal: Tensor) -> None:
        """The curvature along the slope of each parameter, of which a model may make anything: by a difference."""
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
            diagonal[:, own] = torch.where(bent.isfinite(), 1 / bent.clamp_min(1.0), 1.0)

    def increment(self, control: Tensor) -> State:
        """Increment of the initial state in the components that the control holds."""
        return self._increment(self.fields(control))

    def _increment(self, fields: Sequence[Tensor]) -> State:
        return {block.name: field for block, field in zip(self._blocks, fields, strict=True) if not block.steps}

    def initial_state(self, control: Tensor) -> State:
        """x_0 = x_b + B^½ v."""
        return self._initial_state(self.fields(control))

    def _initial_state(self, fields: Sequence[Tensor]) -> State:
        increment = self._increment(fields)
        return {
            key: values + increment[key] if key in increment else values
            for key, values in self.problem.background.items()
        }

    def forcing(self, control: Tensor) -> Forcing:
        r"""Model error :math:`\eta` by step. Q is per unit of time: what acts for T seconds has variance Q T."""
        return self._forcing(self.fields(control))

    def _forcing(self, fields: Sequence[Tensor]) -> Forcing:
        forcing: dict[int, dict[str, Tensor]] = {}
        for block, field in zip(self._blocks, fields, strict=True):
            if block.steps:
                lengths = [abs(self.problem.steps[step]) for step in block.steps]
                total = sum(lengths)
                for step, length in zip(block.steps, lengths, strict=True):
                    at_step, share = forcing.setdefault(step, {}), field * (length / total**0.5)
                    at_step[block.name] = at_step[block.name] + share if block.name in at_step else share
        return forcing

    def terms(self, control: Tensor) -> dict[str, Tensor]:
        """The terms of J by name, each (window,)."""
        return self._terms(control, self.fields(control))

    def _terms(self, control: Tensor, fields: Sequence[Tensor]) -> dict[str, Tensor]:
        prior = 0.5 * control.square()
        terms: dict[str, Tensor] = {}
        for block in self._blocks:
            name = self._term(block)
            part = prior[:, block.begin : block.end].sum(1)
            terms[name] = terms[name] + part if name in terms else part
        increment = self._increment(fields)
        for name, component, penalty in self._penalties:
            terms[name] = terms.get(name, 0) + penalty(increment[component])
        terms.update(self._along_trajectory(self._initial_state(fields), self._forcing(fields)))
        return terms

    def _term(self, block: _Block) -> str:
        """The term of J that holds the prior of a part of the control."""
        if block.steps or block.name in self.problem.held_errors:
            return "model_error"
        return "parameters" if block.name in self.problem.parameters else "background"

    def _along_trajectory(self, state: State, forcing: Forcing) -> dict[str, Tensor]:
        """The terms of J that need the model: those of the penalties, and of the observations."""
        state = start(self.dynamics, state)
        none = self._like.new_zeros(self.problem.windows)

        def visit(index: int, before: State, after: State) -> tuple[State, tuple[Tensor, list[State]]]:
            misfit, moved = none, after
            for observation, share in self._seen.get(index, ()):
                seen = after if share == 1 else _between(before, after, share)
                misfit = misfit + observation.misfit(seen)
                moved = observation.insert(moved)
            return moved, (misfit, self._weighted(index, after))

        state, first = visit(-1, state, state)
        _, values = integrate(
            self.dynamics, state, self.problem.steps, visit, forcing=forcing, checkpoint=self.problem.checkpoint
        )
        values.insert(0, first)
        terms: dict[str, Tensor] = {}
        for penalty, departure in self._departures([weighted for _, weighted in values]):
            terms[penalty.name] = terms.get(penalty.name, none) + penalty.misfit(departure)
        terms["observation"] = sum((misfit for misfit, _ in values[1:]), values[0][0])
        return terms

    def _weighted(self, index: int, state: State) -> list[State]:
        """What the state after a step adds to the departure that each penalty sums up."""
        return [
            {key: weights[index + 1] * state[key] for key in penalty.std} if index + 1 in weights else {}
            for penalty, weights in self._filters
        ]

    def _departures(self, weighted: Sequence[Sequence[State]]) -> Iterator[tuple[DigitalFilter, State]]:
        """Each penalty with what it is a penalty on."""
        for position, (penalty, _) in enumerate(self._filters):
            parts = [states[position] for states in weighted if states[position]]
            yield penalty, {key: sum(part[key] for part in parts) for key in penalty.std}  # type: ignore[misc]

    def trajectory(self, control: Tensor) -> list[State]:
        """The states at all steps, the initial one first, without gradients."""
        with torch.no_grad():
            fields = self.fields(control)
            state = start(self.dynamics, self._initial_state(fields))

            def visit(index: int, before: State, after: State) -> tuple[State, State]:  # noqa: ARG001
                for observation, _ in self._seen.get(index, ()):
                    after = observation.insert(after)
                return after, after

            state, _ = visit(-1, state, state)
            _, states = integrate(self.dynamics, state, self.problem.steps, visit, forcing=self._forcing(fields))
        return [state, *states]

    def value(self, control: Tensor) -> Tensor:
        """J of each window (window,)."""
        return total(self.terms(control))

    def gradient(self, control: Tensor) -> tuple[Tensor, Tensor]:
        r"""J (window,) and its gradient by the control (window, n).

        The derivative by the fields is left to autograd, :math:`B^{1/2}` and its adjoint are not:
        :math:`\nabla J = v + B^{T/2} \nabla_x (J - \tfrac12 v^T v)`.
        """
        with torch.no_grad():
            control = control.detach()
            stacked = [part.sqrt(control).requires_grad_() for part in self._stacks]
        with torch.enable_grad():
            cost = total(self._terms(control, self._apart(stacked)))
            if not cost.requires_grad:  # nothing was observed
                return cost, control.clone()
            sensitivities = torch.autograd.grad(cost.sum(), stacked, materialize_grads=True)
        with torch.no_grad():
            parts = [part.sqrt_transpose(each) for part, each in zip(self._stacks, sensitivities, strict=True)]
            return cost.detach(), control + torch.cat(parts, dim=1)

    def linearise(self, control: Tensor, coarse: Cost | None = None, factor: int = 1) -> Linearisation:
        """J about a control by its Gauss-Newton Hessian, with the model on a coarser grid where one is given."""
        if coarse is None:
            return Linearisation(self, control)
        with torch.no_grad():
            fields = self.fields(control)
            about = [field if field.shape[-1] == 1 else block_mean(field, factor) for field in fields]
        return CoarseLinearisation(self, coarse, about, factor)

    def residuals(self, fields: Sequence[Tensor]) -> list[tuple[Observation | DigitalFilter, Tensor]]:
        """The residual of every observation, and of every penalty, over its deviation."""
        found: list[tuple[Observation | DigitalFilter, Tensor]] = []

        def visit(index: int, before: State, after: State) -> tuple[State, list[State]]:
            moved = after
            for observation, share in self._seen.get(index, ()):
                seen = after if share == 1 else _between(before, after, share)
                found.append((observation, observation.residual(seen)))
                moved = observation.insert(moved)
            return moved, self._weighted(index, after)

        state, first = visit(-1, *[start(self.dynamics, self._initial_state(fields))] * 2)
        _, weighted = integrate(self.dynamics, state, self.problem.steps, visit, forcing=self._forcing(fields))
        for penalty, departure in self._departures([first, *weighted]):
            found.append((penalty, penalty.residual(departure)))
        return found


class Linearisation:
    r"""J about a control, by its Gauss-Newton Hessian :math:`I + B^{T/2} G^T W G B^{1/2}`.

    G is the tangent linear of the residuals by the fields of the control and W the weight that the norm gives them
    (one where it is quadratic, and :math:`\rho'(r) / r` where it is not, which makes the quadratic an upper bound).
    Both come from one integration: its graph is kept, and each product runs through it once forward, as the derivative
    of a backward pass, and once backward.

    Parameters
    ----------
    cost : Cost
        J.
    control : Tensor (window, n), or list of Tensor
        Where it is linearised, or the fields there.
    """

    def __init__(self, cost: Cost, control: Tensor | Sequence[Tensor]) -> None:
        self._cost = cost
        with torch.no_grad():
            if isinstance(control, Tensor):
                stacked = [part.sqrt(control) for part in cost._stacks]
            else:
                stacked = _stack_fields(cost._stacks, control)
        self._fields = [part.requires_grad_() for part in stacked]
        with torch.enable_grad():
            found = cost.residuals(cost._apart(self._fields))
            self._residuals = [residual for _, residual in found]
            self._weights = [observation.weight(residual.detach()) for observation, residual in found]
            self._probes = [torch.zeros_like(residual).requires_grad_() for residual in self._residuals]
            self._backward = torch.autograd.grad(
                self._residuals, self._fields, self._probes, create_graph=True, materialize_grads=True
            )

    def restrict(self, gradient: Tensor) -> Tensor:
        """A gradient in the space of the inner loop."""
        return gradient

    def prolong(self, step: Tensor) -> Tensor:
        """A step of the inner loop in the control."""
        return step

    def product(self, control: Tensor) -> Tensor:
        """The Gauss-Newton Hessian times a control (window, n)."""
        return control + self._misfit_product(control)

    def _misfit_product(self, control: Tensor) -> Tensor:
        """Without that of the prior."""
        stacks = self._cost._stacks
        fields = [part.sqrt(control) for part in stacks]
        tangents = torch.autograd.grad(self._backward, self._probes, fields, retain_graph=True, materialize_grads=True)
        weighted = [weight * tangent for weight, tangent in zip(self._weights, tangents, strict=True)]
        adjoints = torch.autograd.grad(
            self._residuals, self._fields, weighted, retain_graph=True, materialize_grads=True
        )
        adjoints = tuple(a + b for a, b in zip(adjoints, self._penalised(fields), strict=True))
        parts = [part.sqrt_transpose(each) for part, each in zip(stacks, adjoints, strict=True)]
        return torch.cat(parts, dim=1)

    def _penalised(self, fields: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The penalties' own Hessian: they are quadratic, so it is their gradient at the fields."""
        cost = self._cost
        if not cost._penalties:
            return tuple(torch.zeros_like(field) for field in fields)
        with torch.enable_grad():
            leaves = [field.detach().requires_grad_() for field in fields]
            increment = cost._increment(cost._apart(leaves))
            values = [penalty(increment[component]).sum() for _, component, penalty in cost._penalties]
            return torch.autograd.grad(values, leaves, materialize_grads=True)


class CoarseLinearisation(Linearisation):
    r"""J about a control with the tangent linear model on a coarser grid: :math:`L^T L + B^{T/2} G^T W G B^{1/2}`.

    L takes the control of the coarse grid to that of the same waves on the fine one. What is observed is compared on
    the fine grid, to which the coarse states are interpolated: the gradient is that of J itself, and only the Hessian
    is that of the coarse model.

    Parameters
    ----------
    fine, coarse : Cost
        J, and J with its model on the coarser grid, see `Problem.with_coarse_model`.
    fields : list of Tensor
        What each part of the control stands for, on the coarse grid.
    factor : int
        Side of a coarse cell.
    """

    def __init__(self, fine: Cost, coarse: Cost, fields: Sequence[Tensor], factor: int) -> None:
        super().__init__(coarse, fields)
        self._fine, self._factor = fine, factor

    def restrict(self, gradient: Tensor) -> Tensor:
        """By the adjoint of L."""
        with torch.enable_grad():
            leaf = self._cost.zero().requires_grad_()
            image = self._fine.embed(self._cost, leaf, self._factor)
            return torch.autograd.grad(image, leaf, gradient)[0]

    def prolong(self, step: Tensor) -> Tensor:
        """By L."""
        with torch.no_grad():
            return self._fine.embed(self._cost, step, self._factor)

    def product(self, control: Tensor) -> Tensor:
        """The Hessian times a control of the coarse grid."""
        return self.restrict(self.prolong(control)) + self._misfit_product(control)


def _stack_fields(stacks: Sequence[_Stack], fields: Sequence[Tensor]) -> list[Tensor]:
    """The fields of the blocks as their stacks hold them."""
    rest = list(fields)
    return [torch.cat([rest.pop(0) for _ in part.blocks], dim=1) for part in stacks]


def _stacked(blocks: Sequence[_Block]) -> list[_Stack]:
    """Blocks that share a transform put together."""

    def shared(block: _Block) -> int:
        covariance = block.covariance
        return id(covariance.transform if isinstance(covariance, SpectralCovariance) else block)

    return [_Stack(list(group)) for _, group in groupby(blocks, key=shared)]


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """The sum of the terms of J."""
    first, *others = terms.values()
    return sum(others, first)


class CostOfBatch:
    """J for the minimiser, which asks for fewer windows once some have converged."""

    def __init__(self, problem: Problem) -> None:
        self.whole = Cost(problem)
        self._part, self._windows = self.whole, torch.arange(problem.windows)
        self._coarse: dict[int, Cost] = {}

    def __call__(self, control: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
        """J and its gradient for the windows of the batch that are named."""
        return self._of(windows).gradient(control)

    def linearise(self, control: Tensor, windows: Tensor, factor: int = 1) -> Linearisation:
        """J about a control, for the windows that are named, its model on a grid of blocks of cells."""
        if factor == 1:
            return self._of(windows).linearise(control)
        if factor not in self._coarse:
            self._coarse[factor] = Cost(self.whole.problem.with_coarse_model(factor))
        coarse = self._coarse[factor]
        every = len(windows) == self.whole.problem.windows
        return self._of(windows).linearise(control, coarse if every else coarse.select(windows), factor)

    def _of(self, windows: Tensor) -> Cost:
        if not torch.equal(windows, self._windows):
            whole = len(windows) == self.whole.problem.windows
            self._part = self.whole if whole else self.whole.select(windows)
            self._windows = windows
        return self._part


def bind(specification: Any, grid: Grid, like: Tensor) -> Any:
    """A specification on a grid; what has no ``bind`` is used as it is."""
    if hasattr(specification, "bind"):
        return specification.bind(grid, dtype=like.dtype, device=like.device)
    return specification


def _between(before: State, after: State, share: float) -> State:
    """The state at a share of the way from one step to the next."""
    return {key: torch.lerp(before[key], after[key], share) for key in after}


def _by_step(problem: Problem) -> dict[int, list[tuple[Observation, float]]]:
    """The observations by the step in which they fall, with the share of it that has passed; -1 is the control's time.

    Raises
    ------
    ValueError
        An observation lies outside the window.
    """
    times = problem.times()
    span = abs(times[-1])
    tolerance = 1e-6 * max(span, 1.0)
    seen: dict[int, list[tuple[Observation, float]]] = {}
    for observation in problem.observations:
        if abs(observation.time) <= tolerance:
            seen.setdefault(-1, []).append((observation, 1.0))
            continue
        for index, (begin, end) in enumerate(pairwise(times)):
            share = (observation.time - begin) / (end - begin)
            if 0 < share <= 1 + tolerance / abs(end - begin):
                share = 1.0 if share > 1 - tolerance / abs(end - begin) else share
                if share < 1 and problem.time_interpolation == "nearest":
                    index, share = (index, 1.0) if share >= 0.5 else (index - 1, 1.0)
                seen.setdefault(index, []).append((observation, share))
                break
        else:
            raise ValueError(f"an observation at {observation.time} s lies outside the window of {times[-1]} s")
    return seen
