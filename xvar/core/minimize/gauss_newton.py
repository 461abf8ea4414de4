"""Gauss-Newton with inner loops of conjugate gradients: incremental 4D-Var."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from xvar.core.linear_maps import Map, truncated_conjugate_gradients
from xvar.core.minimize.lbfgs import SUFFICIENT_DECREASE, Diagonal, Minimum, Reason, dot
from xvar.core.minimize.ritz import RitzPreconditioner
from xvar.errors import Fault, Faults

if TYPE_CHECKING:
    from xvar.core.solve import CostOfBatch

HALVINGS = 10  # of an outer step that does not lower J


@dataclass(frozen=True)
class GaussNewton:
    r"""Outer loops that linearise the model about the current trajectory, and inner loops that minimise the quadratic.

    In the control :math:`x = x_b + B^{1/2} v` each outer loop solves

    .. math:: (I + B^{T/2} G^T W G B^{1/2}) \, \delta v = -\nabla J(v)

    by conjugate gradients and moves by :math:`\delta v`, halved until J falls. Every window has its own loops; its
    result does not depend on the others.

    Parameters
    ----------
    outer : int
        Number of outer loops.
    inner : int
        Iterations of conjugate gradients in each, at most.
    gtol : float
        Stop if the gradient norm falls below this share of the first.
    ftol : float
        Stop if an outer loop lowers J by less than this share of it.
    residual : float
        Stop an inner loop if its residual falls below this share of the first.
    resolution : tuple of int
        Block sides in cells of the grid of the inner loops, outer loop by outer loop; the last holds for all that
        follow. The cost of an inner loop falls with the square of the side; J and its gradient in the outer loops are
        always those of the full grid. After a coarse loop that does not lower J the next resolution is tried. With
        (4, 2, 1) the minimum is that of the full grid; if the last is coarse, waves that its grid does not resolve stay
        as in the background.
    preconditioner : {"ritz"}, optional
        ``"ritz"`` keeps the leading eigenvectors of the Hessian that each inner loop has found, and preconditions the
        later ones on the same resolution with them (Ritz pairs, a spectral limited-memory preconditioner). The result
        is the same within `residual`; later loops need fewer products.
    vectors : int
        Ritz pairs that each loop adds for a window, at most; each takes the memory of a control.

    References
    ----------
    Courtier, Thépaut and Hollingsworth (1994), doi:10.1002/qj.49712051912; Lawless, Gratton and Nichols (2005),
    doi:10.1002/fld.851; Veersé and Thépaut (1998), doi:10.1002/qj.49712455010 (resolutions one after the other);
    Tshimanga, Gratton, Weaver and Sartenaer (2008), doi:10.1002/qj.228 (Ritz pairs); Giraud and Gratton (2006),
    doi:10.1137/040608301 (their errors).
    """

    outer: int = 5
    inner: int = 20
    gtol: float = 1e-5
    ftol: float = 1e-7
    residual: float = 1e-2
    resolution: tuple[int, ...] = (1,)
    preconditioner: Literal["ritz"] | None = None
    vectors: int = 20

    def __post_init__(self) -> None:
        """Raise InputError for block sides that are not whole numbers from 1 up, and an unknown preconditioner."""
        faults = Faults()
        if not self.resolution or any(side != int(side) or side < 1 for side in self.resolution):
            found, expected = f"resolution={self.resolution}", "block sides in cells, whole numbers from 1 up"
            faults.append(Fault(found, expected, "resolution=(4, 2, 1)", code="resolution"))
        faults.check_choice("preconditioner", self.preconditioner, (None, "ritz"), "ritz")
        if self.vectors != int(self.vectors) or self.vectors < 1:
            fault = Fault(f"vectors={self.vectors}", "a whole number from 1 up", "vectors=20", code="vectors")
            faults.append(fault)
        faults.raise_if_any()

    @property
    def calls(self) -> int:
        """Largest number of evaluations of J and its gradient, without the products of the inner loops."""
        return 1 + self.outer * HALVINGS

    def __call__(self, function: CostOfBatch, control: Tensor, diagonal: Diagonal | None = None) -> Minimum:
        """Minimise J; the parameters are those of `LBFGS.__call__`. Each product counts as an evaluation."""
        control, known_diagonal = control.clone(), None if diagonal is None else diagonal()
        everything = torch.arange(len(control), device=control.device)
        cost, gradient = (part.clone() for part in function(control, everything))
        evaluations = torch.ones_like(everything)
        first = _norm(gradient)
        reason = torch.where(first == 0, int(Reason.GRADIENT), -1)
        reason[~(cost.isfinite() & first.isfinite())] = Reason.DIVERGED
        history = [cost.clone()]
        known: dict[int, RitzPreconditioner] = {}
        for loop in range(self.outer):
            factor = self.resolution[min(loop, len(self.resolution) - 1)]
            finer = loop < len(self.resolution) - 1 and loop < self.outer - 1
            active = torch.nonzero(reason < 0).flatten()
            if not len(active):
                break
            quadratic = function.linearise(control[active], active, factor)
            if factor not in known:
                # The diagonal is that of the full grid.
                own = gradient.new_ones(len(control), 1) if known_diagonal is None or factor != 1 else known_diagonal
                known[factor] = RitzPreconditioner(own)
            right = -quadratic.restrict(gradient[active])
            step, products = self._inner_loop(quadratic.product, right, active, factor, known)
            step = quadratic.prolong(step)
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

    def _inner_loop(
        self, product: Map, right: Tensor, windows: Tensor, factor: int, known: dict[int, RitzPreconditioner]
    ) -> tuple[Tensor, Tensor]:
        """Return the step of some windows and its products; add Ritz pairs to the preconditioner of the resolution."""
        own = known[factor].select(windows)
        if self.preconditioner is None:
            return truncated_conjugate_gradients(product, right, own.diagonal.mul, self.residual**2, self.inner)
        loop = own.solve(product, right, self.residual**2, self.inner)
        known[factor] = known[factor].with_pairs(loop, self.vectors, windows)
        return loop.solution, loop.products

    def _search(
        self, function: CostOfBatch, control: Tensor, cost: Tensor, gradient: Tensor, step: Tensor, windows: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the largest of the halved steps that lowers J, with an infinite J if none does."""
        moved, slopes = control.clone(), gradient.clone()
        lower = torch.full_like(cost, torch.inf)
        tried = torch.zeros_like(windows)
        promised = dot(gradient, step)
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


def _norm(a: Tensor) -> Tensor:
    return dot(a, a).sqrt()
