"""Limited-memory BFGS on a batch of windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xvar.core.minimize.result import Minimum, Reason

Function = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

SUFFICIENT_DECREASE = 1e-4  # Armijo: J falls by this share of what the slope promises
CURVATURE = 0.9  # weak Wolfe: the slope is flatter than this share of the first one
TRIALS = 20  # points of one line search


@dataclass(frozen=True)
class LBFGS:
    r"""L-BFGS with a weak Wolfe line search, each window on its own.

    The direction is :math:`d = -H g`, H from the last `memory` pairs of steps and gradient differences, scaled by the
    newest. The line search brackets a step that satisfies
    :math:`J(v + t d) \le J + c_1 t\, g \cdot d` and :math:`g(v + t d) \cdot d \ge c_2\, g \cdot d` and closes in by
    cubic interpolation. Windows are evaluated together but never wait for one another: each evaluation serves every
    window at its own trial point, and a window that has stopped is left out of it. No window's bits depend on the
    others'.

    Parameters
    ----------
    evaluations : int
        Evaluations of J and its gradient that a window may take.
    gradient : float
        Stop where the gradient norm falls below this share of the first.
    decrease : float
        Stop where an iteration lowers J by less than this share of it.
    memory : int
        Pairs kept.

    References
    ----------
    Nocedal (1980), doi:10.1090/S0025-5718-1980-0572855-7; Lewis and Overton (2013), doi:10.1007/s10107-012-0514-2
    (the bracketing).
    """

    evaluations: int = 100
    gradient: float = 1e-5
    decrease: float = 1e-7
    memory: int = 10

    def __call__(self, function: Function, control: Tensor, diagonal: Tensor | None = None) -> Minimum:
        """Minimise ``function(control (window, n), windows) -> (J (window,), gradient (window, n))``.

        Parameters
        ----------
        function : callable
            J and its gradient for the windows that are named.
        control : Tensor (window, n)
            Where to start.
        diagonal : Tensor (window, n), optional
            What is known of the diagonal of the inverse Hessian.
        """
        run = _Run(self, control, diagonal)
        everything = torch.arange(len(control), device=control.device)
        run.begin(*function(control, everything))
        while len(active := run.active()):
            run.advance(active, *function(run.trial(active), active))
        return run.minimum()


class _Run:
    """The state of a minimisation: one row a window."""

    def __init__(self, settings: LBFGS, control: Tensor, diagonal: Tensor | None) -> None:
        self.settings = settings
        self.diagonal = diagonal
        windows, size = control.shape
        self.control = control.clone()
        self.pairs = control.new_zeros(2, settings.memory, windows, size)  # steps, gradient differences
        self.inverse_curvature = control.new_zeros(settings.memory, windows)
        self.newest = torch.zeros(windows, dtype=torch.int64, device=control.device)
        self.scale = control.new_zeros(windows)
        self.evaluations = torch.ones(windows, dtype=torch.int64, device=control.device)
        self.reason = torch.full((windows,), -1, dtype=torch.int64, device=control.device)
        self.step, self.low, self.low_cost, self.low_slope = (control.new_zeros(windows) for _ in range(4))
        self.high, self.high_cost, self.high_slope = (control.new_full((windows,), torch.inf) for _ in range(3))
        self.low_gradient = torch.zeros_like(control)
        self.trials = torch.zeros(windows, dtype=torch.int64, device=control.device)
        self.history: list[Tensor] = []

    def active(self) -> Tensor:
        """The windows that go on."""
        return torch.nonzero(self.reason < 0).flatten()

    def minimum(self) -> Minimum:
        return Minimum(
            control=self.control,
            cost=self.cost,
            gradient_norm=_norm(self.gradient),
            evaluations=self.evaluations,
            reason=self.reason,
            history=self.history,
        )

    def begin(self, cost: Tensor, gradient: Tensor) -> None:
        """Take the first evaluation."""
        self.cost, self.gradient = cost.clone(), gradient.clone()
        self.first_norm = _norm(gradient)
        self.history.append(cost)
        self.direction = torch.zeros_like(gradient)
        self.slope = torch.zeros_like(cost)
        broken = ~(cost.isfinite() & self.first_norm.isfinite())
        self.reason[broken] = Reason.DIVERGED
        self.reason[~broken & (self.first_norm == 0)] = Reason.GRADIENT
        self.reason[(self.reason < 0) & (self.evaluations >= self.settings.evaluations)] = Reason.EVALUATIONS
        self._search(self.active())

    def trial(self, active: Tensor) -> Tensor:
        """Where J is wanted next."""
        return torch.addcmul(self.control[active], self.step[active, None], self.direction[active])

    def advance(self, active: Tensor, cost: Tensor, gradient: Tensor) -> None:
        """Take J and its gradient at the trial points: accept them, or close in on better ones."""
        self.evaluations[active] += 1
        self.trials[active] += 1
        step, first, slope = self.step[active], self.cost[active], self.slope[active]
        trial_slope = _dot(gradient, self.direction[active])
        finite = cost.isfinite() & trial_slope.isfinite()
        lower = finite & (cost <= first + SUFFICIENT_DECREASE * step * slope) & (cost < self.low_cost[active])
        spent = self.evaluations[active] >= self.settings.evaluations
        last = self.trials[active] >= TRIALS
        accepted = lower & ((trial_slope >= CURVATURE * slope) | spent | last)
        up = lower & ~accepted
        self.low_gradient[active[up]] = gradient[up]
        self._narrow(active[~accepted], cost[~accepted], trial_slope[~accepted], lower[~accepted], finite[~accepted])
        stuck = ~accepted & (last | (self.step[active] == step))
        self._stop(active, stuck & ~finite, Reason.DIVERGED)
        self._stop(active, stuck, Reason.PRECISION)
        self._accept(active[accepted], cost[accepted], gradient[accepted])
        self._accept_low(active[~accepted & (stuck | spent)])
        self._stop(active, spent, Reason.EVALUATIONS)
        self._search(active[accepted & (self.reason[active] < 0)])

    def _stop(self, active: Tensor, where: Tensor, reason: Reason) -> None:
        going = self.reason[active] < 0
        self.reason[active[where & going]] = reason

    def _narrow(self, windows: Tensor, cost: Tensor, slope: Tensor, lower: Tensor, finite: Tensor) -> None:
        """Replace one side of the bracket by the trial point and choose the next."""
        if not len(windows):
            return
        step = self.step[windows]
        up, down = windows[lower], windows[~lower]
        self.low[up], self.low_cost[up], self.low_slope[up] = step[lower], cost[lower], slope[lower]
        self.high[down], self.high_cost[down], self.high_slope[down] = step[~lower], cost[~lower], slope[~lower]
        low, high = self.low[windows], self.high[windows]
        bracketed = high.isfinite()
        width = torch.where(bracketed, high - low, step)
        guess = low + width * _cubic_minimum(
            self.low_cost[windows],
            self.low_slope[windows] * width,
            self.high_cost[windows],
            self.high_slope[windows] * width,
        )
        inside = torch.minimum(torch.maximum(guess, low + 0.1 * width), low + 0.9 * width)
        inside = torch.where(finite, inside, low + 0.1 * width)  # far back from where J has no value
        self.step[windows] = torch.where(bracketed, inside, 4 * step)

    def _accept(self, windows: Tensor, cost: Tensor, gradient: Tensor) -> None:
        """Move to the trial point, and learn the curvature on the way."""
        if not len(windows):
            return
        moved = self.step[windows, None] * self.direction[windows]
        change = gradient - self.gradient[windows]
        curvature = _dot(moved, change)
        learnt = curvature > 1e-10 * _norm(moved) * _norm(change)
        newest = torch.where(learnt, (self.newest[windows] + 1) % self.settings.memory, self.newest[windows])
        kept, slot = windows[learnt], newest[learnt]
        self.newest[windows] = newest
        self.pairs[0, slot, kept], self.pairs[1, slot, kept] = moved[learnt], change[learnt]
        self.inverse_curvature[slot, kept] = 1 / curvature[learnt]
        self.scale[kept] = (curvature / _dot(change, self._scaled(windows, change)))[learnt]
        decrease = self.cost[windows] - cost
        self.control[windows] += moved
        self.cost[windows], self.gradient[windows] = cost, gradient
        self.history.append(self.cost.clone())
        self._stop(windows, _norm(gradient) <= self.settings.gradient * self.first_norm[windows], Reason.GRADIENT)
        self._stop(windows, decrease <= self.settings.decrease * cost.abs(), Reason.DECREASE)

    def _accept_low(self, windows: Tensor) -> None:
        """Where the search ends without a step to its liking, move to the lowest J that it has seen."""
        windows = windows[self.low[windows] > 0]
        self.step[windows] = self.low[windows]
        self._accept(windows, self.low_cost[windows], self.low_gradient[windows])

    def _search(self, windows: Tensor) -> None:
        """Start a line search along a new direction."""
        if not len(windows):
            return
        gradient = self.gradient[windows]
        direction = self._direction(windows, gradient)
        slope = _dot(gradient, direction)
        fresh = self.scale[windows] == 0
        self.direction[windows], self.slope[windows] = direction, slope
        # Without any curvature known, move the control by one standard deviation in all.
        cautious = fresh & (self.diagonal is None)
        self.step[windows] = torch.where(cautious, (1 / _norm(gradient)).clamp_max(1), 1.0)
        self.low[windows], self.low_cost[windows], self.low_slope[windows] = 0.0, self.cost[windows], slope
        self.high[windows], self.high_cost[windows], self.high_slope[windows] = (torch.inf,) * 3
        self.trials[windows] = 0

    def _direction(self, windows: Tensor, gradient: Tensor) -> Tensor:
        """-H g by the two-loop recursion; a slot that holds no pair has no part in it."""
        memory = self.settings.memory
        direction = -gradient
        weights = []
        for age in range(memory):
            slot = (self.newest[windows] - age) % memory
            weight = self.inverse_curvature[slot, windows] * _dot(self.pairs[0, slot, windows], direction)
            direction = torch.addcmul(direction, -weight[:, None], self.pairs[1, slot, windows])
            weights.append(weight)
        scale = self.scale[windows]
        direction = self._scaled(windows, direction) * torch.where(scale > 0, scale, 1.0)[:, None]
        for age in reversed(range(memory)):
            slot = (self.newest[windows] - age) % memory
            back = self.inverse_curvature[slot, windows] * _dot(self.pairs[1, slot, windows], direction)
            direction = torch.addcmul(direction, (weights[age] - back)[:, None], self.pairs[0, slot, windows])
        return direction

    def _scaled(self, windows: Tensor, vector: Tensor) -> Tensor:
        """A vector times the diagonal that is known."""
        return vector if self.diagonal is None else vector * self.diagonal[windows]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Scalar product of each window. This reduction gives a window the same bits alone or in a batch."""
    return (a * b).sum(1)


def _norm(a: Tensor) -> Tensor:
    return _dot(a, a).sqrt()


def _cubic_minimum(begin: Tensor, begin_slope: Tensor, end: Tensor, end_slope: Tensor) -> Tensor:
    """Share of the way from begin to end at which the cubic through values and slopes is least; NaN where none."""
    bend = begin_slope + end_slope - 3 * (end - begin)
    root = (bend * bend - begin_slope * end_slope).clamp_min(0).sqrt()
    share = 1 - (end_slope + root - bend) / (end_slope - begin_slope + 2 * root)
    return torch.where(share.isfinite(), share, 0.5)
