"""The protocol of models, and their integration in time.

A model is a callable ``model(state, seconds)`` that returns the state that many seconds later. A state is a dict of
tensors (window, component, *grid); the new state has the same keys and shapes. Autograd is the adjoint: a step consists
of differentiable torch operations, does not change its input, and computes each window on its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recompute

State = dict[str, Tensor]
Forcing = Mapping[int, Mapping[str, Tensor]]
Value = TypeVar("Value")


@runtime_checkable
class Dynamics(Protocol):
    """One step of a model: the state `seconds` later, or earlier if negative."""

    def __call__(self, state: State, seconds: float, /) -> State:
        """Advance the state."""
        ...


def start(dynamics: Dynamics, state: State) -> State:
    """Return the initial state, completed by a model that adds components, such as the step before."""
    return dynamics.start(state) if hasattr(dynamics, "start") else state


def integrate(
    dynamics: Dynamics,
    state: State,
    steps: Sequence[float],
    visit: Callable[[int, State, State], tuple[State, Value]],
    *,
    forcing: Forcing | None = None,
    checkpoint: bool = False,
) -> tuple[State, list[Value]]:
    r"""Integrate :math:`x_{i+1} = M_i(x_i) + \eta_i`, and return the final state and all values.

    The initial state is completed by `start`. After each step (in seconds, negative backward in time) and its model
    error, `visit` is called with the index, the state before and the state after. The integration continues from the
    state that it returns, so an observation may replace a component; its values are returned in the order of the steps.
    With `checkpoint` about the square root of the number of steps is kept in memory, the others are recomputed in the
    adjoint, and the values are tensors or containers of tensors.
    """
    keys = tuple(state)

    def segment(begin: int, end: int, *tensors: Tensor) -> tuple[tuple[Tensor, ...], list[Value]]:
        now: State = dict(zip(keys, tensors, strict=True))
        values = []
        for index in range(begin, end):
            after = dict(dynamics(now, steps[index]))
            if forcing and index in forcing:
                after.update({key: after[key] + increment for key, increment in forcing[index].items()})
            now, value = visit(index, now, after)
            values.append(value)
        return tuple(now[key] for key in keys), values

    count = len(steps)
    length = max(1, math.isqrt(count)) if checkpoint else max(1, count)
    tensors, values = tuple(state.values()), []
    for begin in range(0, count, length):
        bounds = begin, min(begin + length, count)
        if checkpoint:
            tensors, found = recompute(segment, *bounds, *tensors, use_reentrant=False)
        else:
            tensors, found = segment(*bounds, *tensors)
        values.extend(found)
    return dict(zip(keys, tensors, strict=True)), values


def trajectory(
    dynamics: Dynamics, state: State, steps: Sequence[float], *, forcing: Forcing | None = None
) -> list[State]:
    """Return all states of an integration, the initial one first, without gradients."""
    with torch.no_grad():
        state = start(dynamics, state)
        _, states = integrate(dynamics, state, steps, lambda index, before, after: (after, after), forcing=forcing)
    return [state, *states]


def runge_kutta(tendency: Callable[[Tensor], Tensor], values: Tensor, seconds: float) -> Tensor:
    r"""Advance :math:`\dot x = F(x)` by one step of the classical fourth-order method of Runge and Kutta."""
    first = tendency(values)
    second = tendency(torch.add(values, first, alpha=0.5 * seconds))
    third = tendency(torch.add(values, second, alpha=0.5 * seconds))
    fourth = tendency(torch.add(values, third, alpha=seconds))
    return torch.add(values, first + 2 * (second + third) + fourth, alpha=seconds / 6)


def between(before: State, after: State, share: float) -> State:
    """Interpolate linearly between the states before and after a step."""
    return {key: torch.lerp(before[key], after[key], share) for key in after}
