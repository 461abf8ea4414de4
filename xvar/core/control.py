"""The control: a flat vector for each window, and the fields of its parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from xvar.core.covariance.base import Covariance
from xvar.core.dynamics import Forcing, State
from xvar.core.grid import bind, finer
from xvar.core.problem import Problem


@dataclass(frozen=True)
class Block:
    """One part of the control: its covariance, and its place in the flat vector."""

    name: str
    covariance: Covariance
    shape: tuple[int, ...]  # of the control of one window
    begin: int
    end: int
    steps: tuple[int, ...] = ()  # of a forcing; empty for the initial state

    def own(self, control: Tensor) -> Tensor:
        """Return its part of a control (window, n), in its own shape."""
        return control[:, self.begin : self.end].reshape(-1, *self.shape)

    def control(self, field: Tensor) -> Tensor:
        """Return the control of a field."""
        return self.covariance.inverse_sqrt(field)


#: A block, or several that are one, with the number of components of each.
_Stack = tuple[Block, list[int] | None]


class ControlSpace:
    """The controls v of a problem, flat tensors (window, n), and their fields :math:`B^{1/2} v`.

    Increments of the initial state come first, then model errors. Parts that share a transform are transformed at once:
    *stacked* fields are one tensor for each such group, and `split` returns one field for each block.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = replace(problem, observations=())  # what they hold is no part of the control
        self.blocks = _lay_out(problem)
        self._stacks = _stacks(self.blocks)

    def select(self, windows: Tensor, problem: Problem) -> ControlSpace:
        """Return the controls of some windows, with their problem; covariances stay bound."""
        part = copy(self)
        part._problem = replace(problem, observations=())
        part.blocks = [replace(block, covariance=block.covariance.select(windows)) for block in self.blocks]
        part._stacks = _stacks(part.blocks)
        return part

    @property
    def size(self) -> int:
        """Length of the control of a window."""
        return self.blocks[-1].end if self.blocks else 0

    def zero(self) -> Tensor:
        """Return the control of the background."""
        return self._problem.like.new_zeros(self._problem.windows, self.size)

    def sqrt(self, control: Tensor) -> list[Tensor]:
        """Return the stacked fields of a control."""
        return [block.covariance.sqrt(block.own(control)) for block, _ in self._stacks]

    def sqrt_transpose(self, stacked: Sequence[Tensor]) -> Tensor:
        """Return the adjoint of `sqrt`."""
        pairs = zip(self._stacks, stacked, strict=True)
        return torch.cat([block.covariance.sqrt_transpose(fields).flatten(1) for (block, _), fields in pairs], dim=1)

    def split(self, stacked: Sequence[Tensor]) -> list[Tensor]:
        """Return one field for each block."""
        pairs = zip(self._stacks, stacked, strict=True)
        return [field for (_, sizes), fields in pairs for field in (fields.split(sizes, dim=1) if sizes else [fields])]

    def merge(self, fields: Sequence[Tensor]) -> list[Tensor]:
        """Return the inverse of `split`."""
        rest = iter(fields)
        return [next(rest) if sizes is None else torch.cat([next(rest) for _ in sizes], 1) for _, sizes in self._stacks]

    def fields(self, control: Tensor) -> list[Tensor]:
        """Return the field of each block: increments, then model errors per square root of time."""
        return self.split(self.sqrt(control))

    def control(self, fields: Sequence[Tensor]) -> Tensor:
        r"""Return the control of given `fields`, :math:`v = B^{-1/2} \delta x`."""
        return self._joined([block.control(field) for block, field in zip(self.blocks, fields, strict=True)])

    def refine(self, coarse: ControlSpace, control: Tensor, factor: int) -> Tensor:
        """Return the control of the fields of a control on a grid of blocks of `factor` cells a side."""
        return self._transferred(coarse, control, factor, "refine")

    def embed(self, coarse: ControlSpace, control: Tensor, factor: int) -> Tensor:
        """Return the same as `refine`, by a linear and differentiable map."""
        return self._transferred(coarse, control, factor, "embed")

    def _transferred(self, coarse: ControlSpace, control: Tensor, factor: int, verb: str) -> Tensor:
        parts = []
        for block, coarser in zip(self.blocks, coarse.blocks, strict=True):
            own = coarser.own(control)
            part = getattr(block.covariance, verb)(coarser.covariance, own)
            if part is None:
                field = coarser.covariance.sqrt(own)
                part = block.control(finer(field, factor, self._problem.grid.shape))
            parts.append(part)
        return self._joined(parts)

    def _joined(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat([part.flatten(1) for part in parts], dim=1) if parts else self.zero()

    def increment(self, fields: Sequence[Tensor]) -> State:
        """Return the increment of the initial state, in the components of the control."""
        return {block.name: field for block, field in zip(self.blocks, fields, strict=True) if not block.steps}

    def initial_state(self, fields: Sequence[Tensor]) -> State:
        r"""Return :math:`x_0 = x_b + B^{1/2} v`."""
        increment = self.increment(fields)
        return {
            key: values + increment[key] if key in increment else values
            for key, values in self._problem.background.items()
        }

    def forcing(self, fields: Sequence[Tensor]) -> Forcing:
        r"""Return the model error :math:`\eta` by step; Q is per unit of time, so T seconds have the variance Q T."""
        forcing: dict[int, dict[str, Tensor]] = {}
        for block, field in zip(self.blocks, fields, strict=True):
            if block.steps:
                lengths = [abs(self._problem.steps[step]) for step in block.steps]
                total = sum(lengths)
                for step, length in zip(block.steps, lengths, strict=True):
                    at_step, share = forcing.setdefault(step, {}), field * (length / total**0.5)
                    at_step[block.name] = at_step[block.name] + share if block.name in at_step else share
        return forcing


def _lay_out(problem: Problem) -> list[Block]:
    """Return the blocks of the control, each specification bound once."""
    groups: list[tuple[str, Any, tuple[int, ...]]] = [
        (name, specification, ()) for name, specification in problem.background_error.items()
    ]
    if problem.model_error is not None:
        for steps in problem.model_error.steps:
            groups.extend((name, part, steps) for name, part in problem.model_error.covariance.items())
    bound: dict[int, Covariance] = {}
    blocks: list[Block] = []
    end = 0
    for name, specification, steps in groups:
        if id(specification) not in bound:
            bound[id(specification)] = bind(specification, problem.grid, problem.like)
        covariance = bound[id(specification)]
        shape = tuple(covariance.control_shape(tuple(problem.background[name].shape)))[1:]
        begin, end = end, end + math.prod(shape)
        blocks.append(Block(name, covariance, shape, begin, end, steps))
    return blocks


def _stacks(blocks: Sequence[Block]) -> list[_Stack]:
    """Return adjacent blocks that share a transform as one block, so that it runs once for all their components."""

    def shared(block: Block) -> tuple[type, Any]:
        key = block.covariance.stack_key
        return type(block.covariance), id(block) if key is None else key

    stacks: list[_Stack] = []
    for _, group in groupby(blocks, key=shared):
        first, *others = parts = list(group)
        if not others:
            stacks.append((first, None))
            continue
        components = [part.shape[0] for part in parts]
        covariance = first.covariance.stack([(part.covariance, part.shape[0]) for part in parts])
        shape = (sum(components), *first.shape[1:])
        stacks.append((Block(first.name, covariance, shape, first.begin, parts[-1].end), components))
    return stacks
