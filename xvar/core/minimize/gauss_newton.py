"""Gauss-Newton with conjugate gradients inside: incremental 4D-Var."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from xvar.core.minimize.result import Minimum, Reason
from xvar.errors import Fault, InputError

HALVINGS = 10  # of an outer step that does not lower J
SUFFICIENT_DECREASE = 1e-4  # of what the slope promises


class Quadratic(Protocol):
    """J about a control."""

    def product(self, control: Tensor, /) -> Tensor:
        """The Hessian times a control (window, n)."""
        ...

    def restrict(self, gradient: Tensor, /) -> Tensor:
        """A gradient in the space of the inner loop, which may have fewer dimensions."""
        ...

    def prolong(self, step: Tensor, /) -> Tensor:
        """A step of the inner loop in that of the control."""
        ...


class Linearisable(Protocol):
    """J, its gradient, and J about a control, for the windows of the batch that are named."""

    def __call__(self, control: Tensor, windows: Tensor, /) -> tuple[Tensor, Tensor]:
        """J (window,) and its gradient (window, n)."""
        ...

    def linearise(self, control: Tensor, windows: Tensor, factor: int = 1, /) -> Quadratic:
        """The Gauss-Newton Hessian there, of the model on a grid whose cells hold `factor` cells a side."""
        ...


@dataclass(frozen=True)
class GaussNewton:
    r"""Outer loops that linearise the model about the current trajectory, and inner loops that minimise the quadratic.

    In the control :math:`x = x_b + B^{1/2} v` each outer loop solves

    .. math:: (I + B^{T/2} G^T W G B^{1/2}) \, \delta v = -\nabla J(v)

    by conjugate gradients (which build the Lanczos basis of the Hessian) and moves by :math:`\delta v`, or by half of
    it, and half again, until J falls. Every window has its own loops; none sees another's numbers.

    Parameters
    ----------
    outer : int
        Linearisations.
    inner : int
        Iterations of conjugate gradients in each.
    gtol : float
        Stop if the gradient norm falls below this share of the first.
    ftol : float
        Stop if an outer loop lowers J by less than this share of it.
    residual : float
        Stop an inner loop where its residual falls below this share of the first.
    resolution : tuple of int
        Side of the blocks of cells that are one in the model of the inner loops, outer loop by outer loop; the last
        holds for all that follow. Coarse inner loops cost less by the square of it; J and its gradient, which the outer
        loops take, are always those of the full grid. While a coarse loop does not lower J, the next resolution is
        tried. With (4, 2, 1) the minimum is that of the full grid; with a last one that is coarse, waves that its grid
        does not hold stay as in the background.

    References
    ----------
    Courtier, Thépaut and Hollingsworth (1994), doi:10.1002/qj.49712051912; Lawless, Gratton and Nichols (2005),
    doi:10.1002/fld.851; Veersé and Thépaut (1998), doi:10.1002/qj.49712455010 (resolutions one after the other).
    """

    outer: int = 5
    inner: int = 20
    gtol: float = 1e-5
    ftol: float = 1e-7
    residual: float = 1e-2
    resolution: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        """Refuse blocks of no cells."""
        if not self.resolution or any(side != int(side) or side < 1 for side in self.resolution):
            raise InputError(
                Fault(f"resolution={self.resolution}", "sides of blocks, 1 or more cells", "resolution=(4, 2, 1)")
            )

    @property
    def calls(self) -> int:
        """Evaluations of J and its gradient that a window takes at most, without the products of the inner loops."""
        return 1 + self.outer * HALVINGS

    def __call__(self, function: Linearisable, control: Tensor, diagonal: Tensor | None = None) -> Minimum:
        """Minimise J; the parameters are those of `LBFGS.__call__`. Each product counts as an evaluation."""
        control = control.clone()
        everything = torch.arange(len(control), device=control.device)
        cost, gradient = (part.clone() for part in function(control, everything))
        evaluations = torch.ones_like(everything)
        first = _norm(gradient)
        reason = torch.where(first == 0, int(Reason.GRADIENT), -1)
        reason[~(cost.isfinite() & first.isfinite())] = Reason.DIVERGED
        history = [cost.clone()]
        for loop in range(self.outer):
            factor = self.resolution[min(loop, len(self.resolution) - 1)]
            finer = loop < len(self.resolution) - 1 and loop < self.outer - 1
            active = torch.nonzero(reason < 0).flatten()
            if not len(active):
                break
            scale = None if diagonal is None else diagonal[active]
            quadratic = function.linearise(control[active], active, factor)
            # What is known of the diagonal is that of the full grid.
            step, products = self._inner(quadratic, gradient[active], scale if factor == 1 else None)
            evaluations[active] += products
            moved, lower, slopes, tried = self._search(
                function, control[active], cost[active], gradient[active], step, active
            )
            evaluations[active] += tried
            accepted = torch.isfinite(lower)
            fell = cost[active] - lower
            kept = active[accepted]
            control[kept], cost[kept], gradient[kept] = moved[accepted], lower[accepted], slopes[accepted]
            if not finer:
                reason[active[~accepted]] = Reason.PRECISION
                reason[kept[(fell <= self.ftol * lower.abs())[accepted]]] = Reason.DECREASE
            reason[kept[_norm(gradient[kept]) <= self.gtol * first[kept]]] = Reason.GRADIENT
            history.append(cost.clone())
        reason[reason < 0] = Reason.EVALUATIONS
        return Minimum(control, cost, _norm(gradient), evaluations, reason, history)

    def _inner(self, quadratic: Quadratic, gradient: Tensor, diagonal: Tensor | None) -> tuple[Tensor, Tensor]:
        """Conjugate gradients; a window that is done stays where it is while the others go on."""
        residual = -quadratic.restrict(gradient)
        scale = torch.ones_like(residual) if diagonal is None else diagonal
        step = torch.zeros_like(residual)
        scaled = scale * residual
        direction, strength = scaled, _dot(residual, scaled)
        first = strength.clone()
        products = torch.zeros(len(gradient), dtype=torch.int64, device=gradient.device)
        for _ in range(self.inner):
            going = strength > self.residual**2 * first
            if not bool(going.any()):
                break
            image = quadratic.product(direction)
            length = torch.where(going, strength / _dot(direction, image), 0.0)[:, None]
            step, residual = step + length * direction, residual - length * image
            scaled = scale * residual
            renewed = _dot(residual, scaled)
            direction = scaled + torch.where(going, renewed / strength, 0.0)[:, None] * direction
            strength = torch.where(going, renewed, strength)
            products += going
        return quadratic.prolong(step), products

    def _search(
        self, function: Linearisable, control: Tensor, cost: Tensor, gradient: Tensor, step: Tensor, windows: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The largest of the halved steps that lowers J; where none does J comes back as infinite."""
        moved, slopes = control.clone(), gradient.clone()
        lower = torch.full_like(cost, torch.inf)
        tried = torch.zeros_like(windows)
        promised = _dot(gradient, step)
        length = 1.0
        for _ in range(HALVINGS):
            open_ = torch.nonzero(~lower.isfinite()).flatten()
            if not len(open_):
                break
            trial = control[open_] + length * step[open_]
            value, slope = function(trial, windows[open_])
            tried[open_] += 1
            falls = value <= cost[open_] + SUFFICIENT_DECREASE * length * promised[open_]
            good = falls & (value < cost[open_]) & _norm(slope).isfinite()
            moved[open_[good]], lower[open_[good]], slopes[open_[good]] = trial[good], value[good], slope[good]
            length /= 2
        return moved, lower, slopes, tried


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Scalar product of each window, with the same bits alone or in a batch."""
    return (a * b).sum(1)


def _norm(a: Tensor) -> Tensor:
    return _dot(a, a).sqrt()
