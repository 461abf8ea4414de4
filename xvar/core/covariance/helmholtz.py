"""Motion as a mean, a stream function and a potential."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from xvar.core.covariance.base import Covariance, Shape, Specification
from xvar.core.covariance.coast import Coast, with_coast
from xvar.core.covariance.iterative import conjugate_gradients
from xvar.core.covariance.linear import linear
from xvar.core.covariance.matern import Matern, matern_scale
from xvar.core.covariance.periodic import PeriodicVectorCovariance, difference_symbols
from xvar.core.covariance.transform import laplacian_eigenvalues
from xvar.core.grid import Grid
from xvar.errors import Faults


class WindowedCovariance(Covariance):
    r"""A covariance on a larger periodic grid, seen through a window at its near edges.

    .. math:: B = P^T B_\mathrm{periodic} P, \qquad B^{1/2} = P^T B_\mathrm{periodic}^{1/2}

    with P the padding with zeros: no point of the window has a neighbour across an edge, and the statistics are the
    same at every point. The control lives on the larger grid. The inverse is iterative, in double precision.

    Parameters
    ----------
    periodic : PeriodicVectorCovariance
        The operator on the larger grid.
    precise : PeriodicVectorCovariance
        The same in double precision.
    shape, larger : tuple of int
        Points (y, x) of the window and of the larger grid.
    """

    def __init__(
        self, periodic: PeriodicVectorCovariance, precise: PeriodicVectorCovariance, shape: Shape, larger: Shape
    ) -> None:
        self._periodic, self._precise, self._shape, self._larger = periodic, precise, shape, larger
        self.dtype, self.device = periodic.dtype, periodic.device

    def _inside(self, field: Tensor) -> Tensor:
        return field[..., : self._shape[0], : self._shape[1]].contiguous()

    def _padded(self, state: Tensor) -> Tensor:
        (ny, nx), (rows, columns) = self._shape, self._larger
        return pad(state, (0, columns - nx, 0, rows - ny))

    def control_shape(self, shape: Shape) -> Shape:
        """Shape on the larger grid."""
        return (*shape[:-2], *self._larger)

    def sqrt(self, control: Tensor) -> Tensor:
        """One inverse Fourier transform for each component, of which the window is kept."""
        return self._inside(self._periodic.sqrt(control))

    def sqrt_transpose(self, state: Tensor) -> Tensor:
        """Adjoint of `sqrt`."""
        return self._periodic.sqrt_transpose(self._padded(state))

    def apply(self, state: Tensor) -> Tensor:
        """One Fourier transform and its inverse for each component."""
        return self._inside(self._periodic.apply(self._padded(state)))

    def solve(self, state: Tensor) -> Tensor:
        """By conjugate gradients, with the periodic inverse as preconditioner; NaN for a window where they fail."""
        return linear(state, self._solve, self._solve)

    def _solve(self, state: Tensor) -> Tensor:
        solution = conjugate_gradients(
            lambda x: self._inside(self._precise.apply(self._padded(x))),
            state.to(torch.float64),
            lambda x: self._inside(self._precise.solve(self._padded(x))),
        )
        return solution.to(state.dtype)


@dataclass(frozen=True)
class Helmholtz(Specification):
    r"""A motion that is uniform, plus the curl of a stream function, plus the gradient of a potential.

    .. math::

        w = \overline w + \nabla^\perp \psi + \nabla \chi, \qquad
        P_\psi(k) \propto k^{-2} (1 + L^2 k^2)^{-(\nu+1)}, \qquad P_\chi = r P_\psi

    so that the velocity has the spectrum of the Matérn family, shared between a part without divergence and a part
    without curl (both exactly so for forward differences). With r = 1 the components are not correlated, each of the
    Matérn family. With free edges the statistics are those of a larger periodic grid, of which the domain is a part:
    the same at every point, and opposite edges are as far from each other as the margin is wide, where the correlation
    is below a tenth. (It falls with the square of the distance, however short the length, since one part is free of
    divergence.) Land is not seen, unless ``coast="no_flow"``: the statistics are then those on condition that nothing
    flows through the coast, see `xvar.core.covariance.coast.NoFlowCovariance`.

    Parameters
    ----------
    std : float
        Standard deviation of each component of :math:`w - \overline w` at a point, in m/s.
    length : float
        In metres, as in `Matern`: L itself for a smoothness of 1, else Daley's length.
    mean_std : float
        Standard deviation of each component of the uniform motion, in m/s.
    smoothness : int
        :math:`\nu` of the velocity.
    potential_ratio : float
        r, the power of the potential over that of the stream function, positive.
    coast : {"free", "no_flow"}
    edges : {"free", "periodic"}, optional
        Default: the grid's. Zeros beyond the edges are not compatible with either part, and are refused.

    References
    ----------
    Lindgren, F., Rue, H., Lindström, J. (2011) An explicit link between Gaussian fields and Gaussian Markov random
    fields, doi:10.1111/j.1467-9868.2011.00777.x.
    """

    std: float
    length: float
    mean_std: float
    smoothness: int = 1
    potential_ratio: float = 0.2
    edges: Literal["free", "periodic"] | None = None
    coast: Coast = "free"

    def bind(
        self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
    ) -> Covariance:
        """Operator on this grid, for states of two components (u, v).

        Raises
        ------
        InputError
            Where a number is not positive, the grid has not two axes, or there are zeros beyond its edges.
        """
        edges = self.edges or grid.edges
        self._check(grid, edges)
        if edges == "periodic":
            return self._with_coast(self._periodic(grid, dtype, device), grid, grid)
        scale = matern_scale(self.length, self.smoothness)
        # Twice the distance at which the correlation has fallen to 0.13.
        reach = 2 * scale * math.sqrt(8 * self.smoothness)
        larger = Grid(
            tuple(fast_size(n + min(n, math.ceil(reach / d))) for n, d in zip(grid.shape, grid.spacing, strict=True)),
            grid.spacing,
            edges="periodic",
        )
        operator = self._periodic(larger, dtype, device)
        precise = operator if dtype == torch.float64 else self._periodic(larger, torch.float64, device)
        return self._with_coast(WindowedCovariance(operator, precise, grid.shape, larger.shape), grid, larger)

    def _with_coast(self, free: Covariance, grid: Grid, larger: Grid) -> Covariance:
        def everywhere() -> Covariance:
            return self._periodic(larger, torch.float64, None)

        return with_coast(free, everywhere, larger.shape, grid, self.coast)

    def _periodic(self, grid: Grid, dtype: torch.dtype, device: torch.device | str | None) -> PeriodicVectorCovariance:
        squares = laplacian_eigenvalues(grid.shape, grid.spacing, "periodic")
        variances = Matern(self.std, self.length, self.smoothness).spectrum(squares)
        variances[0, 0] = 0
        # Half of the trace of a block is the mean over the components.
        variances = variances * self.std**2 / (variances.mean() * (1 + self.potential_ratio) / 2)
        across, along = variances, variances * self.potential_ratio
        across[0, 0] = along[0, 0] = grid.size * self.mean_std**2
        return PeriodicVectorCovariance(
            along.sqrt(), across.sqrt(), difference_symbols(grid), dtype=dtype, device=device
        )

    def _check(self, grid: Grid, edges: str) -> None:
        faults = Faults()
        for name in ("std", "length", "mean_std", "potential_ratio"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                faults.add(found=f"{name}={value}", expected="a positive number", fix=f"mend {name}")
        if edges not in ("free", "periodic"):
            faults.add(
                found=f"edges {edges!r}",
                expected="free or periodic edges for a stream function and a potential",
                fix='give edges="free"',
            )
        faults.raise_if_any()
        Matern(self.std, self.length, self.smoothness).check(grid)


def fast_size(points: int) -> int:
    """Return the next even number whose only factors are 2, 3 and 5."""
    size = points + points % 2
    while True:
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 2
