"""Correlations of compact support by distance: on a line, a ring, a plane, or along great circles of the Earth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from xvar.core.covariance.base import Specification
from xvar.core.covariance.matrix import MatrixCovariance, root_and_inverse
from xvar.core.grid import Device, Grid, unit_vectors
from xvar.errors import Faults

EARTH_RADIUS = 6371e3  # metres, of the sphere of latitudes and longitudes
#: Points of the largest grid: the root of the matrix of all pairs is computed once.
MOST_POINTS = 5000


def gaspari_cohn(distance: Tensor, length: float) -> Tensor:
    """Return the correlation at a distance, zero from twice the `length` on."""
    z = (distance / length).clamp(max=2.0)
    near = 1 + z * z * (-5 / 3 + z * (5 / 8 + z * (1 / 2 - z / 4)))
    far = 4 + z * (-5 + z * (5 / 3 + z * (5 / 8 + z * (-1 / 2 + z / 12)))) - 2 / (3 * z.clamp(min=1.0))
    return torch.where(z < 1, near, far.clamp(min=0.0))


@dataclass(frozen=True, eq=False)
class GaspariCohn(Specification):
    r"""Correlations that vanish beyond a distance, the fifth-order function of Gaspari and Cohn.

    With :math:`z = d / c`

    .. math::

        \rho = \begin{cases}
        1 - \tfrac53 z^2 + \tfrac58 z^3 + \tfrac12 z^4 - \tfrac14 z^5 & z \le 1 \\
        4 - 5 z + \tfrac53 z^2 + \tfrac58 z^3 - \tfrac12 z^4 + \tfrac1{12} z^5 - \tfrac23 z^{-1} & 1 < z \le 2 \\
        0 & z > 2
        \end{cases}

    On grids with latitude and longitude d is the length of the great circle, so that neighbours across a pole or the
    date line are near; elsewhere it is that of the straight line, by the spacing of the grid, around a periodic one.
    The function is positive definite in three dimensions, and so on the sphere, if it vanishes within half a turn [2]_.

    Parameters
    ----------
    std : float
        Standard deviation in the variable's units; 1 for a localisation.
    length : float
        c in metres, or the units of the axis: half the distance at which correlations vanish. A Gaussian of the same
        width has the length :math:`\sqrt{0.3}\, c`.

    Notes
    -----
    For grids of one axis or two, of up to 5000 points: the root is that of the matrix of all pairs of points. For
    levels over a plane take `Product`; for larger grids `Matern`.

    References
    ----------
    .. [1] Gaspari, G., Cohn, S. E. (1999) Construction of correlation functions in two and three dimensions,
       doi:10.1002/qj.49712555417.
    .. [2] Gneiting, T. (2013) Strictly and non-strictly positive definite functions on spheres, doi:10.3150/12-BEJSP06.
    """

    std: float
    length: float

    def bind(self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: Device = None) -> MatrixCovariance:
        """Return the operator on a grid; see `Specification.bind`."""
        self._check(grid)
        positions = grid.positions
        places = None if positions is None else tuple(tuple(map(tuple, part.tolist())) for part in positions)
        root, inverse = _roots(self.length, grid.shape, grid.spacing, grid.edges == "periodic", places)
        parts = (root * self.std, inverse / self.std**2)
        return MatrixCovariance(*(part.to(device=device, dtype=dtype) for part in parts))

    def correlation(self, distance: Tensor) -> Tensor:
        """Return the correlation at distances in metres."""
        return gaspari_cohn(distance, self.length)

    def _check(self, grid: Grid) -> None:
        faults = Faults()
        grid.check_axes(faults)
        faults.check_numbers(self, {"std": 1.0, "length": 500e3})
        limits = [math.pi * EARTH_RADIUS] if grid.positions is not None else []
        if grid.positions is None and grid.edges == "periodic":
            limits = [0.5 * n * d for n, d in zip(grid.shape, grid.spacing, strict=True)]
        if not faults and limits and 2 * self.length > min(limits):
            faults.add(
                code="correlation-around-the-grid",
                found=f"correlations of GaspariCohn(length={self.length:g}) that vanish at {2 * self.length:g}",
                expected=f"within half a turn around the grid, {min(limits):g}: they are not positive otherwise",
                fix=f"length={0.4 * min(limits):.3g}",
            )
        if grid.size > MOST_POINTS:
            faults.add(
                code="grid-too-large",
                found=f"GaspariCohn on {grid.size} points",
                expected=f"at most {MOST_POINTS}: the matrix of all pairs has a root",
                fix="xvar.covariance.Matern(1.0, length, 8)",
            )
        faults.raise_if_any()


Places = tuple[tuple[tuple[float, ...], ...], ...]


@lru_cache(maxsize=2)
def _roots(
    length: float, shape: tuple[int, ...], spacing: tuple[float, ...], periodic: bool, positions: Places | None
) -> tuple[Tensor, Tensor]:
    """Return the symmetric root of the correlations (n, n) in float64, and their pseudo-inverse."""
    if positions is None:
        square = torch.zeros(math.prod(shape), math.prod(shape), dtype=torch.float64)
        for index, size, step in zip(_indices(shape), shape, spacing, strict=True):
            apart = (index[:, None] - index).abs()
            square += (step * (torch.minimum(apart, size - apart) if periodic else apart)) ** 2
        distance = square.sqrt()
    else:
        vectors = unit_vectors([torch.tensor(part, dtype=torch.float64) for part in positions]).flatten(1).T
        chord = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")
        distance = 2 * EARTH_RADIUS * torch.asin((0.5 * chord).clamp(max=1.0))
    return root_and_inverse(gaspari_cohn(distance, length))


def _indices(shape: tuple[int, ...]) -> list[Tensor]:
    """Return the index of every point along each axis (n,)."""
    lines = (torch.arange(n, dtype=torch.float64) for n in shape)
    return [part.flatten() for part in torch.meshgrid(*lines, indexing="ij")]
