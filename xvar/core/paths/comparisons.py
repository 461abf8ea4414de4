"""Images that are compared with parcels, and the function that evaluates all comparisons at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

#: w and q (window, 2, y, x) in m/s, I of the first chain and s (window, 1, y, x); q and s may be absent.
Fields = Sequence[Tensor | None]
#: Function of the fields, and of whether the gradient by each of them is wanted (None for the others).
Evaluation = Callable[[Fields, Sequence[bool]], tuple[Tensor, list[Tensor | None]]]


@dataclass(frozen=True)
class Comparisons:
    r"""Images compared with parcels that are followed backward in time from the grid points of later images.

    .. math:: J_o = \sum_{r, k, x} \rho(r_{rk}), \quad
        r_{rk} = p_{rk} \bigl(y_k(X_{rk}) - m_k(X_{rk}) (I_r + d_{rk} s)\bigr), \quad
        \dot X = w + a_k\, q

    with :math:`\rho(r) = c^2 (\sqrt{1 + (r/c)^2} - 1)`. Image k is that after step k; chain r follows the parcels of
    the image before step r. A step goes through the middle of the path, which a parcel reaches with its motion at the
    begin of the step, or with the drift of the step before (`keeps_drift`).
    """

    per_metre: Tensor  # cells along x and y (1, 2, y, x), or (1, 2, 1, 1)
    steps: tuple[float, ...]  # seconds
    mean: tuple[float, ...]  # a, the share of q in each step
    begin: tuple[float, ...]  # and in the motion with which each chain begins
    reach: int  # steps of a chain, at most
    keeps_drift: bool
    images: Tensor  # y (window, step, y, x), zero where nothing is observed
    later: Tensor  # I of the chains after the first (window, chain - 1, y, x)
    elapsed: tuple[tuple[float, ...], ...]  # d (chain, step)
    precision: Tensor  # p (window, pair, y, x), or (window, pair, 1, 1); zero where I is not known
    pairs: tuple[tuple[int, ...], ...]  # number of the pair (chain, step)
    threshold: float  # c
    masks: Tensor | None = None  # m (window, step, y, x); None: one
    complete: Tensor | None = None  # bool (window, step), true for images without holes; with `masks`

    @cached_property
    def evaluate(self) -> Evaluation:
        """Function that returns J_o of each window and its gradients."""
        from xvar.core.paths.kernel import compiled

        return compiled(self)

    def select(self, windows: Tensor) -> Comparisons:
        """Return the comparisons of some windows."""
        names = ("images", "later", "precision", "masks", "complete")
        return replace(self, **{name: part[windows] for name in names if (part := getattr(self, name)) is not None})
