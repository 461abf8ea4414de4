"""Minimise J from coarse grids to the full grid, and record its terms at every evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise

import torch
from torch import Tensor

from xvar.core.control import ControlSpace
from xvar.core.cost import Cost
from xvar.core.dynamics import Forcing, State
from xvar.core.grid import finer
from xvar.core.linearisation import CoarseLinearisation, Linearisation
from xvar.core.minimize import LBFGS, Minimum
from xvar.core.problem import Problem
from xvar.core.tiles import Tiles, minimise_tiles
from xvar.errors import Fault, InputError


@dataclass(frozen=True)
class Minimisation:
    """One minimisation of an analysis: its outer loop and level, and the most evaluations of J."""

    name: str
    evaluations: int


def minimisations(
    levels: Sequence[int], minimizer: LBFGS, coarse: LBFGS | None = None, *, loop: str = "", finest: int = 1
) -> list[Minimisation]:
    """Return the minimisations of `xvar.core.solve.solve`; `loop` names the outer loop, if there are several.

    `finest` is the side in cells of the blocks of level 1.
    """
    found = []
    for level in levels:
        side = level * finest
        words = [loop] if loop else []
        words.append("whole_grid" if side == 1 else f"blocks_of_{side}")
        used = minimizer if level == levels[-1] else coarse or minimizer
        found.append(Minimisation("_".join(words), used.calls))
    return found


class CostHistory:
    """J and its terms at every evaluation of each window, one minimisation (of all that may run) after the other."""

    def __init__(self, windows: int, minimisations: Sequence[Minimisation]) -> None:
        self._number = torch.zeros(windows, sum(one.evaluations for one in minimisations), dtype=torch.int8)
        self._taken = torch.zeros(windows, dtype=torch.int64)
        self._terms: dict[str, Tensor] = {}
        self._begun = 0

    def begin(self) -> None:
        """Start the next minimisation."""
        self._begun += 1

    def note(self, windows: Tensor, terms: Mapping[str, Tensor]) -> None:
        """Add the terms of J (window,) at an evaluation of some windows."""
        windows = windows.cpu()
        place = windows, self._taken[windows]
        for name, values in terms.items():
            if name not in self._terms:
                self._terms[name] = torch.full(self._number.shape, torch.nan, dtype=values.dtype)
            self._terms[name][place] = values.detach().cpu()
        self._number[place] = self._begun
        self._taken[windows] += 1

    def numbers(self) -> dict[str, Tensor]:
        """Return the history as arrays for the output, each (window, evaluation).

        ``cost_history`` is the lowest J so far of the minimisation, ``cost_history_<term>`` its terms there, NaN after
        the last evaluation of a window; ``minimisation`` is the number of the minimisation from 1, and 0 after the last
        evaluation.
        """
        cost = torch.nan_to_num(sum(self._terms.values(), torch.zeros(())), nan=torch.inf)
        lowest = torch.arange(cost.shape[1]).expand(cost.shape)
        for number in range(1, self._begun + 1):
            here = self._number == number
            lowest = torch.where(here, torch.where(here, cost, torch.inf).cummin(dim=1).indices, lowest)
        terms = {f"cost_history_{name}": values.gather(1, lowest) for name, values in self._terms.items()}
        return {"cost_history": sum(terms.values(), torch.zeros(())), **terms, "minimisation": self._number}


@dataclass(frozen=True)
class Analysis:
    """The analysis of a batch of windows."""

    minimum: Minimum  # on the full grid, with the evaluations on coarse grids included
    cost: Cost  # J on the full grid, whose zero control is the background

    @cached_property
    def _fields(self) -> list[Tensor]:
        with torch.no_grad():
            return self.cost.space.fields(self.minimum.control)

    @property
    def increment(self) -> State:
        """x_a - x_b at the time of the control."""
        return self.cost.space.increment(self._fields)

    @property
    def forcing(self) -> Forcing:
        """The model error by step."""
        return self.cost.space.forcing(self._fields)

    @cached_property
    def cost_background(self) -> dict[str, Tensor]:
        """Terms of J at the background, each (window,)."""
        with torch.no_grad():
            return self.cost.terms(self.cost.zero(), [torch.zeros_like(field) for field in self._fields])

    @cached_property
    def cost_analysis(self) -> dict[str, Tensor]:
        """Terms of J at the analysis, each (window,)."""
        with torch.no_grad():
            return self.cost.terms(self.minimum.control, self._fields)

    @cached_property
    def trajectory(self) -> list[State]:
        """States at every step, the first at the time of the control."""
        return self.cost.trajectory(self.minimum.control)

    @property
    def state(self) -> State:
        """State at the time of the control, without the components that the model adds."""
        return self.cost.space.initial_state(self._fields)

    def select(self, windows: Tensor) -> Analysis:
        """Return the analysis of some windows of the batch."""
        minimum = self.minimum
        selected = Minimum(
            minimum.control[windows],
            minimum.cost[windows],
            minimum.gradient_norm[windows],
            minimum.evaluations[windows],
            minimum.reason[windows],
            [cost[windows] for cost in minimum.history],
        )
        return Analysis(selected, self.cost.select(windows))


class CostOfBatch:
    """J for a minimiser: fewer windows are evaluated once some have converged; `cost_history` records the terms."""

    def __init__(self, problem: Problem, cost_history: CostHistory | None = None) -> None:
        self.whole = Cost(problem)
        self.cost_history = cost_history
        self._part = self.whole
        self._windows: Tensor | None = None
        self._coarse: dict[int, Cost] = {}

    def __call__(self, control: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Return J and its gradient for some windows of the batch."""
        callback = None if self.cost_history is None else partial(self.cost_history.note, windows)
        return self._of(windows).gradient(control, callback)

    def linearise(self, control: Tensor, windows: Tensor, factor: int = 1) -> Linearisation:
        """Return the quadratic about a control of some windows, with the model on a grid of blocks of cells."""
        cost = self._of(windows)
        if factor == 1:
            return Linearisation(cost, control)
        if factor not in self._coarse:
            self._coarse[factor] = Cost(self.whole.problem.with_coarse_model(factor))
        coarse = self._coarse[factor]
        every = len(windows) == self.whole.problem.windows
        return CoarseLinearisation(cost, coarse if every else coarse.select(windows), control, factor)

    def _of(self, windows: Tensor) -> Cost:
        if windows is not self._windows:  # the same tensor as long as none stops: its values stay on the device
            whole = len(windows) == self.whole.problem.windows
            self._part = self.whole if whole else self.whole.select(windows)
            self._windows = windows
        return self._part


def solve(
    problem: Problem,
    minimizer: LBFGS | None = None,
    *,
    levels: Sequence[int] = (1,),
    coarse: LBFGS | None = None,
    cost_history: CostHistory | None = None,
    start: State | None = None,
    tiles: Tiles | None = None,
) -> Analysis:
    """Minimise J for every window; one that fails keeps its best iterate, with the reason in ``minimum.reason``.

    `levels` are the sides of the blocks of averaged cells, level by level; each starts from the analysis of the level
    before. Displacements larger than the structures of the image need coarse levels. The last is minimised by
    `minimizer`, those before by `coarse`, if given. `cost_history` records the terms of J at every evaluation. From the
    increments `start`, by component, the last level alone is minimised, if J is lower there than at the background in
    every window. A grid larger than those of `tiles` is minimised in tiles at the last level, see `minimise_tiles`; of
    that level the history has its end only. Raises InputError if the levels do not divide one another down to 1.
    """
    if not levels or levels[-1] != 1 or any(coarse % fine for coarse, fine in pairwise(levels)):
        expected = "block sides that divide one another down to 1"
        raise InputError(Fault(f"levels={tuple(levels)}", expected, "levels=(4, 2, 1)", code="levels"))
    minimizer = minimizer or LBFGS()
    evaluations = torch.zeros((), dtype=torch.int64)
    found: tuple[ControlSpace, Tensor] | None = None
    begin = None if start is None else _begin(Cost(problem), start)
    if begin is not None:
        levels = (1,)
    for coarser, level in zip((0, *levels), levels, strict=False):
        if cost_history is not None:
            cost_history.begin()
        if level == 1 and tiles is not None and tiles.divide(problem.grid.shape):
            if begin is None:
                start = None if found is None else _finer(*found, coarser, problem.grid.shape)
            cost, minimum = _solve_tiles(problem, start, minimizer, tiles, cost_history)
            evaluations = minimum.evaluations + evaluations
            continue
        function = CostOfBatch(problem.coarsen(level), cost_history)
        cost = function.whole
        control = cost.zero() if found is None else cost.space.refine(*found, coarser // level)
        control, found = control if begin is None else begin, None  # what is done with gives its memory back
        minimum = (minimizer if level == 1 else coarse or minimizer)(function, control, cost.inverse_hessian)
        evaluations = minimum.evaluations + evaluations
        found = cost.space, minimum.control
        if level > 1:
            del function, cost, control, minimum  # before J on the next grid takes memory of its own
    return Analysis(replace(minimum, evaluations=evaluations), cost)


def _begin(cost: Cost, start: State) -> Tensor | None:
    """Return the control of some increments; None if J of a window is not lower there than at the background."""
    with torch.no_grad():
        control = cost.space.control([start[block.name] for block in cost.space.blocks])
        return control if bool((cost.value(control) < cost.value(cost.zero())).all()) else None


def _finer(space: ControlSpace, control: Tensor, factor: int, shape: tuple[int, ...]) -> State:
    """Return the increments of a control on a grid of blocks of cells, interpolated to the full grid."""
    with torch.no_grad():
        return {name: finer(part, factor, shape) for name, part in space.increment(space.fields(control)).items()}


def _solve_tiles(
    problem: Problem, start: State | None, minimizer: LBFGS, tiles: Tiles, cost_history: CostHistory | None
) -> tuple[Cost, Minimum]:
    """Minimise J in tiles, from increments or from the background; return J of the whole, and its value there."""
    if start is None:
        start = {name: torch.zeros_like(problem.background[name]) for name in problem.background_error}
    found = minimise_tiles(problem, start, minimizer, tiles)
    cost = Cost(problem)
    with torch.no_grad():
        control = cost.space.control([found.increment[block.name] for block in cost.space.blocks])
    every = torch.arange(problem.windows)
    value, gradient = cost.gradient(control, None if cost_history is None else partial(cost_history.note, every))
    norm = torch.linalg.vector_norm(gradient, dim=1)
    return cost, Minimum(control, value, norm, found.evaluations, found.reason, [value])
