"""What a model is, and its integration in time.

A model is anything that can be called as ``model(state, seconds)`` and gives the state that many seconds later. A
state is a dict of tensors (window, component, *grid); the new state has the same keys and shapes. Nothing else is
asked: autograd is the adjoint, so the step must be made of differentiable torch operations, must not change its input
and must treat the windows apart.
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
    """One step of a model: the state `seconds` later (or earlier, where negative)."""

    def __call__(self, state: State, seconds: float, /) -> State:
        """Advance the state."""
        ...


@runtime_checkable
class Remembering(Protocol):
    """A model whose state holds more than its initial state does, such as the step before."""

    def start(self, state: State, /) -> State:
        """Complete an initial state."""
        ...


def start(dynamics: Dynamics, state: State) -> State:
    """The initial state with what a model that remembers adds to it."""
    return dynamics.start(state) if isinstance(dynamics, Remembering) else state


def integrate(
    dynamics: Dynamics,
    state: State,
    steps: Sequence[float],
    visit: Callable[[int, State, State], tuple[State, Value]],
    *,
    forcing: Forcing | None = None,
    checkpoint: bool = False,
) -> tuple[State, list[Value]]:
    r"""Integrate :math:`x_{i+1} = M_i(x_i) + \eta_i` and look at every step.

    Parameters
    ----------
    dynamics : Dynamics
        The model M.
    state : dict of Tensor (window, component, *grid)
        The initial state, already completed by `start`.
    steps : sequence of float
        Length of each step in seconds; they need not be equal, and are negative backward in time.
    visit : callable (index, before, after) -> (state, value)
        Called after step `index` with the states before and after it. The state that it returns is the one to go on
        from, which is how an observation may replace a component.
    forcing : mapping of step to increments of components, optional
        Model error added after the steps that it names.
    checkpoint : bool
        Keep only about the square root of the number of steps in memory and recompute the others in the adjoint.

    Returns
    -------
    state : dict of Tensor
        The final state.
    values : list
        What `visit` gave, in the order of the steps. Under `checkpoint` a value is a tensor, or holds nothing else.
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
    """All states of an integration, the initial one first, without gradients."""
    with torch.no_grad():
        state = start(dynamics, state)
        _, states = integrate(dynamics, state, steps, lambda index, before, after: (after, after), forcing=forcing)
    return [state, *states]
