"""Motion as a mean, a stream function and a potential."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import count
from typing import Literal

import torch
from torch import Tensor

from xvar.core.checks import check_numbers
from xvar.core.covariance.base import Covariance, Shape, Specification
from xvar.core.covariance.coast import Coast, with_coast
from xvar.core.covariance.matern import Matern, matern_scale
from xvar.core.covariance.periodic import PeriodicVectorCovariance, difference_symbols
from xvar.core.covariance.transform import laplacian_eigenvalues
from xvar.core.grid import Device, Grid
from xvar.errors import Faults


@dataclass(frozen=True)
class Helmholtz(Specification):
    r"""A motion that is uniform, plus the curl of a stream function, plus the gradient of a potential.

    .. math::

        w = \overline w + \nabla^\perp \psi + \nabla \chi, \qquad
        P_\psi(k) \propto k^{-2} (1 + L^2 k^2)^{-(\nu+1)}, \qquad P_\chi = r P_\psi

    The velocity has the spectrum of the Matérn family, shared between a part without divergence and a part without curl
    (both exactly so for forward differences). With r = 1 the components are uncorrelated, each of the Matérn family.
    With free edges the statistics are those of a larger periodic grid, the same at every point; the margin separates
    opposite edges by a distance at which the correlation is below 0.1. (It falls with the square of the distance,
    however short the length, since one part is free of divergence.) Correlations cross land, unless
    ``coast="no_flow"``: the statistics are then conditional on no flow through the coast, see
    `xvar.core.covariance.coast.NoFlowCovariance`.

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
        Default: the grid's. Zeros beyond the edges are compatible with neither part.

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

    def bind(self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: Device = None) -> Covariance:
        """Return the operator on a grid, for states of two components (u, v); see `Specification.bind`."""
        edges = self.edges or grid.edges
        faults = Faults()
        check_numbers(self, {"std": 0.3, "length": 10e3, "mean_std": 0.3, "potential_ratio": 0.2}, faults)
        faults.check_choice("edges", edges, ("free", "periodic"), "free")
        faults.raise_if_any()
        Matern(self.std, self.length, self.smoothness).check(grid)
        # Twice the distance at which the correlation has fallen to 0.13.
        distance = 2 * matern_scale(self.length, self.smoothness) * math.sqrt(8 * self.smoothness)
        larger = grid if edges == "periodic" else Grid(with_margin(grid, distance), grid.spacing, edges="periodic")
        across, along = self.variances(larger)
        parts = along.sqrt(), across.sqrt(), difference_symbols(larger)
        free = PeriodicVectorCovariance(*parts, grid.shape, dtype=dtype, device=device)

        def homogeneous() -> Covariance:
            return PeriodicVectorCovariance(*parts, dtype=torch.float64)

        return with_coast(free, homogeneous, larger.shape, grid, self.coast)

    def variances(self, grid: Grid) -> tuple[Tensor, Tensor]:
        """Return the variances of the parts without divergence and without curl, by wavenumber of a periodic grid."""
        variances = Matern(self.std, self.length, self.smoothness).spectrum(
            laplacian_eigenvalues(grid.shape, grid.spacing, "periodic")
        )
        variances[0, 0] = 0
        # Half of the trace of a block is the mean over the components.
        across = variances * self.std**2 / (variances.mean() * (1 + self.potential_ratio) / 2)
        along = across * self.potential_ratio
        across[0, 0] = along[0, 0] = grid.size * self.mean_std**2
        return across, along


def with_margin(grid: Grid, distance: float, coarsest: int = 1) -> Shape:
    """Return the shape of a periodic grid around another, with a margin of a distance in metres, at most the grid's.

    It is a multiple of `coarsest`: whole blocks of so many cells a side.
    """
    return tuple(
        coarsest * fast_size(math.ceil((n + min(n, math.ceil(distance / d))) / coarsest))
        for n, d in zip(grid.shape, grid.spacing, strict=True)
    )


def fast_size(points: int) -> int:
    """Return the next even number whose only factors are 2, 3 and 5, each of which divides a power of 30."""
    return next(size for size in count(points + points % 2, 2) if 30 ** size.bit_length() % size == 0)
