"""Limited-memory BFGS on a batch of windows, and the result of a minimisation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from xvar.core.transfer import to_device


class Reason(IntEnum):
    """Reason for the end of the minimisation of a window."""

    GRADIENT = 0  # the gradient is small relative to the first
    DECREASE = 1  # J hardly falls any more
    PRECISION = 2  # no step lowers J: the precision of the numbers is reached
    EVALUATIONS = 3  # the number of evaluations has reached its limit
    DIVERGED = 4  # J is not finite, at the start or along the line search

    @property
    def converged(self) -> bool:
        """True if the minimum was found to the requested or the possible precision."""
        return self in (Reason.GRADIENT, Reason.DECREASE, Reason.PRECISION)


@dataclass(frozen=True)
class Minimum:
    """The best control of each window."""

    control: Tensor  # (window, n)
    cost: Tensor  # J there (window,)
    gradient_norm: Tensor  # Euclidean norm of the gradient there (window,)
    evaluations: Tensor  # of J with its gradient (window,), int64
    reason: Tensor  # a `Reason` each (window,), int64
    history: list[Tensor]  # J at the start and after each iteration (window,); it never grows


Function = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Diagonal = Callable[[], Tensor | None]

SUFFICIENT_DECREASE = 1e-4  # Armijo: J falls by this share of what the slope promises
CURVATURE = 0.9  # weak Wolfe: the slope is flatter than this share of the first
TRIALS = 20  # points of one line search, at most
CACHE_LINE = 64  # bytes; the bits of a product depend on where in a cache line its vectors begin


@dataclass(frozen=True)
class LBFGS:
    r"""L-BFGS with a weak Wolfe line search, each window on its own.

    The direction is :math:`d = -H g`, H from the last `history_size` pairs of steps and gradient differences, scaled
    by the newest. The line search brackets a step that satisfies
    :math:`J(v + t d) \le J + c_1 t\, g \cdot d` and :math:`g(v + t d) \cdot d \ge c_2\, g \cdot d` by cubic
    interpolation. Windows are evaluated together, each at its own trial point; a window that has stopped is left out.
    The bits of a window do not depend on the others.

    Parameters
    ----------
    max_evaluations : int
        Evaluations of J and its gradient of a window, at most.
    gtol : float
        Stop if the gradient norm falls below this share of the first.
    ftol : float
        Stop if the last iterations lower J by less than this share of it each, in the mean. The first iteration, whose
        step is a guess, does not count.
    ftol_iterations : int
        Iterations of that mean: more than one do not stop at a single short step.
    history_size : int
        Pairs kept.
    first_step : float
        First trial step, as a share of that by the diagonal of the inverse Hessian, if one is given.

    References
    ----------
    Byrd, Nocedal and Schnabel (1994), doi:10.1007/BF01582063 (the direction); Lewis and Overton (2013),
    doi:10.1007/s10107-012-0514-2 (the bracketing).
    """

    max_evaluations: int = 100
    gtol: float = 1e-5
    ftol: float = 1e-7
    ftol_iterations: int = 1
    history_size: int = 10
    first_step: float = 1.0

    @property
    def calls(self) -> int:
        """Largest number of evaluations of J and its gradient."""
        return max(1, self.max_evaluations)

    def __call__(self, function: Function, control: Tensor, diagonal: Diagonal | None = None) -> Minimum:
        """Minimise ``function(control (window, n), windows) -> (J (window,), gradient (window, n))`` from `control`.

        `diagonal` returns an approximate diagonal of the inverse Hessian (window, n), or None. It is a function since
        its root alone is kept.
        """
        descent = _Descent(self, function, control, diagonal)
        while descent.searches:
            descent.advance()
        return descent.minimum()


class _Descent:
    r"""Minimisation of the windows that have not stopped: tensors with one row each, line searches in Python floats.

    It goes by :math:`D^{-1/2} v`, D the given diagonal, of which the inverse Hessian begins as a multiple of one.
    All that a window's line search needs from the device comes in one transfer for each evaluation: also the slope at
    its start, which is read together with the numbers of the first trial point.
    """

    def __init__(self, settings: LBFGS, function: Function, control: Tensor, diagonal: Diagonal | None) -> None:
        self.function = function
        self.windows = torch.arange(len(control), device=control.device)
        self.found: Tensor | None = None  # the controls of the windows that have stopped
        known = None if diagonal is None else diagonal()
        self.root = None if known is None else known.sqrt()
        self.control = control if self.root is None else control / self.root
        self.hessian = _InverseHessian(settings.history_size, control)
        cost, self.gradient, norm = self._evaluate(_scaled(self.control, self.root))
        self.direction, self.slope = self.gradient, norm
        precision = torch.finfo(control.dtype).eps
        self.every = [_Search(settings, precision, *row) for row in _numbers(cost, norm)]
        self.searches = self.every
        self.history = [[search.cost for search in self.every]]
        self._leave()
        self._search(range(len(self.searches)))

    def advance(self) -> None:
        """Evaluate J at the trial points, and accept them or choose the next."""
        steps = [search.step for search in self.searches]
        cost, gradient, norm = self._evaluate(_scaled(self._along(self.control, self.direction, steps), self.root))
        numbers = _numbers(self.slope, cost, dot(gradient, self.direction), norm)
        fallen = [search.advance(*row) for search, row in zip(self.searches, numbers, strict=True)]
        if any(fallen):
            self.history.append([search.cost for search in self.every])
        going = self._leave()
        gradient = _rows(gradient, going)
        moved = [row for row, old in enumerate(going) if fallen[old]]
        if not moved:
            return
        curved = [row for row in moved if self.searches[row].curved]
        if curved:
            taken = _beside([self.searches[row].moved for row in curved], gradient)[:, None]
            change = _rows(gradient, curved) - _rows(self.gradient, curved)
            self.hessian.learn(curved, taken * _rows(self.direction, curved), change)
        # The trial points once more: during an evaluation they would take the memory of a control.
        trial = self._along(self.control, self.direction, [search.moved for search in self.searches])
        self.control, self.gradient = _replaced(self.control, moved, trial), _replaced(self.gradient, moved, gradient)
        del trial, gradient
        self._search(moved)

    def _evaluate(self, control: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return J at a control of the function, its gradient by the scaled one, and the norm of the gradient."""
        cost, gradient = self.function(control, self.windows)
        gradient = _scaled(gradient, self.root)
        return cost, gradient, dot(gradient, gradient).sqrt()

    def _along(self, control: Tensor, direction: Tensor, steps: list[float]) -> Tensor:
        return torch.addcmul(control, direction, _beside(steps, control)[:, None])

    def _leave(self) -> list[int]:
        """Remove the windows that have stopped, keep their controls, and return the rows of the others."""
        going = [row for row, search in enumerate(self.searches) if search.reason is None]
        if len(going) == len(self.searches):
            return going
        ended = [row for row, search in enumerate(self.searches) if search.reason is not None]
        steps = [self.searches[row].moved for row in ended]
        points = _rows(self.control, ended)
        if any(steps):  # a direction that was not tried need not be finite
            points = torch.where(
                _beside(steps, points)[:, None] > 0,
                self._along(points, _rows(self.direction, ended), steps),
                points,
            )
        if self.found is None:
            self.found = self.control.new_empty(len(self.every), self.control.shape[1])
        self.found[_rows(self.windows, ended)] = _scaled(points, None if self.root is None else _rows(self.root, ended))
        self.searches = [self.searches[row] for row in going]
        self.windows, self.control = _rows(self.windows, going), _rows(self.control, going)
        self.gradient, self.direction = _rows(self.gradient, going), _rows(self.direction, going)
        self.slope = _rows(self.slope, going)
        self.root = None if self.root is None else _rows(self.root, going)
        self.hessian.keep(going)
        return going

    def _search(self, rows: Iterable[int]) -> None:
        """Start line searches; the directions of windows in the middle of one do not change."""
        self.direction = self.hessian.descent(self.gradient)
        self.slope = dot(self.gradient, self.direction)
        for row in rows:
            search = self.searches[row]
            # Without known curvature, a step of one standard deviation in all.
            step = min(1.0, 1 / search.norm) if self.root is None else search.settings.first_step
            search.start(1.0 if self.hessian.learnt[row] else step)

    def minimum(self) -> Minimum:
        """Return the result."""
        control = self.control.clone() if self.found is None else self.found  # a batch without windows has none
        numbers = [(search.cost, search.norm) for search in self.every]
        cost, norm = _beside(numbers, control).reshape(-1, 2).unbind(1)
        counts = [(search.evaluations, int(search.reason or 0)) for search in self.every]
        evaluations, reason = _beside(counts, control, torch.int64).reshape(-1, 2).unbind(1)
        return Minimum(control, cost, norm, evaluations, reason, list(_beside(self.history, control)))


class _InverseHessian:
    r"""H of each window from its last steps S and gradient differences Y, in the form of Byrd, Nocedal and Schnabel.

    .. math:: H = \gamma I + \begin{bmatrix} S & Y \end{bmatrix} \begin{bmatrix}
        R^{-T} (C + \gamma Y^T Y) R^{-1} & -\gamma R^{-T} \\ -\gamma R^{-1} & 0 \end{bmatrix}
        \begin{bmatrix} S^T \\ Y^T \end{bmatrix}

    with R the products of steps with their own and later differences, C its diagonal, and :math:`\gamma` from the
    newest pair. Pairs fill slots in turn, so R is an upper triangle up to the order of rows and columns: its inverse
    loses a row and a column with the oldest pair, and gets a column with the newest. A slot without a pair has no
    effect: all is zero there. The small matrices have such slots beyond the memory, so that each fills cache lines.
    """

    def __init__(self, memory: int, like: Tensor) -> None:
        windows, size = like.shape
        self.memory, self.size = memory, size
        # Each row in whole cache lines.
        self.fill = -size % (CACHE_LINE // like.element_size())
        self.spare = -memory % 4
        self.pairs = like.new_zeros(windows, 2 * memory, size + self.fill)  # steps, then differences
        self.inverse = like.new_zeros((windows, memory + self.spare, memory + self.spare), dtype=torch.float64)  # of R
        self.inner = torch.zeros_like(self.inverse)  # YᵀY
        self.curvature = self.inverse.new_zeros(windows, memory + self.spare)  # C
        self.scale = self.inverse.new_ones(windows, 1)  # γ
        self.learnt = [0] * windows

    def keep(self, rows: list[int]) -> None:
        """Keep some of the windows."""
        for name in ("pairs", "inverse", "inner", "curvature", "scale"):
            setattr(self, name, _rows(getattr(self, name), rows))
        self.learnt = [self.learnt[row] for row in rows]

    def learn(self, rows: list[int], step: Tensor, change: Tensor) -> None:
        """Add a pair of positive curvature to each of some windows."""
        slots = [self.learnt[row] % self.memory for row in rows]
        # If all windows learn into one slot, as they mostly do, slices select them, without a copy to the device.
        index: Any = slice(None), slice(None), slots[0]
        if len(rows) < len(self.learnt) or slots != slots[:1] * len(rows):
            where, places = _beside((rows, slots), step, torch.int64).unbind(0)
            index = where, torch.arange(len(rows), device=step.device), places
        windows, every, slot = index
        for row in rows:
            self.learnt[row] += 1
        self.pairs[windows, slot, : self.size] = step
        self.pairs[windows, slot + self.memory, : self.size] = change
        along_steps, along_changes = self._products(change, _rows(self.pairs, rows))
        self.inverse[windows, slot] = 0
        self.inverse[windows, :, slot] = 0
        own = along_steps[every, slot]
        column = _times(_rows(self.inverse, rows), along_steps) / -own[:, None]
        column[every, slot] = 1 / own
        self.inverse[windows, :, slot] = column
        self.inner[windows, slot] = self.inner[windows, :, slot] = along_changes
        self.curvature[windows, slot] = own
        self.scale[windows, 0] = own / along_changes[every, slot]

    def descent(self, gradient: Tensor) -> Tensor:
        """Return -H g."""
        along_steps, along_changes = self._products(gradient, self.pairs)
        changes = _times(self.inverse, along_steps)
        inside = self.curvature * changes + self.scale * (_times(self.inner, changes) - along_changes)
        shares = _times(self.inverse.mT, inside)[:, : self.memory], (-self.scale * changes)[:, : self.memory]
        both = torch.cat(shares, dim=1)[:, None].to(gradient.dtype)
        by_pairs = torch.bmm(both, self.pairs)[:, 0, : self.size]
        return torch.addcmul(by_pairs, gradient, self.scale.to(gradient.dtype)).neg_()

    def _products(self, vector: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the products of a vector of each window with its steps, and with its differences."""
        vector = pad(vector, (0, self.fill)) if self.fill else vector
        found = torch.bmm(vector[:, None], pairs.mT).double().view(-1, 2, self.memory)
        found = pad(found, (0, self.spare)) if self.spare else found
        return found[:, 0], found[:, 1]


class _Point(NamedTuple):
    """A point of a line search."""

    step: float
    cost: float
    slope: float
    norm: float


class _Search:
    """The line search of one window, and the reason for its end."""

    def __init__(self, settings: LBFGS, precision: float, cost: float, norm: float) -> None:
        self.settings, self.precision = settings, precision
        self.cost, self.norm, self.first_norm = cost, norm, norm
        self.evaluations, self.iterations = 1, 0
        self.decreases: list[float] = []  # of J in the last iterations
        self.trials = 0  # of this line search
        self.moved = 0.0  # the last accepted step
        self.curved = False  # True if the slope was flatter there
        self.reason: Reason | None = None
        if not (math.isfinite(cost) and math.isfinite(norm)):
            self.reason = Reason.DIVERGED
        elif norm == 0:
            self.reason = Reason.GRADIENT
        elif settings.max_evaluations <= 1:
            self.reason = Reason.EVALUATIONS

    def start(self, step: float) -> None:
        """Start along a new direction, whose slope comes with the first trial point."""
        self.step, self.trials, self.moved = step, 0, 0.0
        self.high = _Point(math.inf, math.inf, math.inf, math.inf)

    def advance(self, first_slope: float, cost: float, slope: float, norm: float) -> bool:
        """Use J and its slope at the trial point; return True if the window moves, to it or to the best before."""
        if not self.trials:
            self.slope, self.low = first_slope, _Point(0.0, self.cost, first_slope, self.norm)
        self.evaluations += 1
        self.trials += 1
        here = _Point(self.step, cost, slope, norm)
        finite = math.isfinite(cost) and math.isfinite(slope)
        enough = self.cost + SUFFICIENT_DECREASE * self.step * self.slope
        lower = finite and cost <= enough and cost < self.low.cost
        spent = self.evaluations >= self.settings.max_evaluations
        last = self.trials >= TRIALS
        if lower and (slope >= CURVATURE * self.slope or spent or last):
            self.curved = slope > self.slope
            self._move(here)
        else:
            if lower:
                self.low = here
            else:
                self.high = here
            self.step = self._next(finite)
            if last or abs(self.step - here.step) <= self.precision * here.step:
                self.reason = Reason.PRECISION if finite else Reason.DIVERGED
            if (self.reason is not None or spent) and self.low.step > 0:
                self._move(self.low)
        if spent and self.reason is None:
            self.reason = Reason.EVALUATIONS
        return self.moved > 0

    def _next(self, finite: bool) -> float:
        """Return the next trial step."""
        low, high = self.low, self.high
        if high.step == math.inf:
            return 4 * self.step
        width = high.step - low.step
        # If J is not finite, a tenth of the way.
        share = _cubic_minimum(low.cost, low.slope * width, high.cost, high.slope * width) if finite else 0.1
        return low.step + width * min(max(share, 0.1), 0.9)

    def _move(self, best: _Point) -> None:
        self.decreases.append(self.cost - best.cost)
        self.iterations += 1
        self.moved, self.cost, self.norm = best.step, best.cost, best.norm
        if self.reason is None and best.norm <= self.settings.gtol * self.first_norm:
            self.reason = Reason.GRADIENT
        del self.decreases[: -self.settings.ftol_iterations]
        mean = sum(self.decreases) / self.settings.ftol_iterations
        counted = self.iterations > self.settings.ftol_iterations
        if self.reason is None and counted and mean <= self.settings.ftol * abs(best.cost):
            self.reason = Reason.DECREASE


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the scalar product of each window, with the same bits alone or in a batch."""
    return (a * b).sum(1)


def _scaled(values: Tensor, factor: Tensor | None) -> Tensor:
    return values if factor is None else values * factor


def _beside(numbers: Sequence[Any], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    return to_device(numbers, dtype or like.dtype, like.device)


def _rows(values: Tensor, rows: list[int]) -> Tensor:
    """Return some rows in their order, without a copy if these are all."""
    return values if len(rows) == values.shape[0] else values[_beside(rows, values, torch.int64)]


def _replaced(values: Tensor, rows: list[int], others: Tensor) -> Tensor:
    """Return values with some rows of others, without a copy if these are all."""
    if len(rows) == values.shape[0]:
        return others
    index = _beside(rows, values, torch.int64)
    return values.index_copy(0, index, others[index])


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    """Return the product of a small matrix and a vector of each window; the bits of `bmm` would depend on the batch."""
    return (matrix.contiguous() * vector[:, None]).sum(2)


def _numbers(*columns: Tensor) -> list[list[float]]:
    """Return the numbers of each window, in one transfer from the device."""
    numbers: list[list[float]] = torch.stack(columns, dim=1).tolist()
    return numbers


def _cubic_minimum(begin: float, begin_slope: float, end: float, end_slope: float) -> float:
    """Return the share of the interval at which the cubic through values and slopes is least, or the middle."""
    bend = begin_slope + end_slope - 3 * (end - begin)
    square = bend * bend - begin_slope * end_slope
    root = math.sqrt(max(square, 0.0)) if math.isfinite(square) else math.nan
    below = end_slope - begin_slope + 2 * root
    share = 1 - (end_slope + root - bend) / below if below else math.nan
    return share if math.isfinite(share) else 0.5
