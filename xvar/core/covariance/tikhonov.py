"""Penalties on the gradient, curvature and divergence of an increment, as a covariance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import pad

from xvar.core.covariance.base import Covariance, Penalty, Specification
from xvar.core.covariance.periodic import PeriodicVectorCovariance, difference_symbols
from xvar.core.covariance.spectral import SpectralCovariance
from xvar.core.covariance.transform import DifferenceEdges, laplacian_eigenvalues, shared_transform
from xvar.core.grid import Device, Grid
from xvar.errors import Faults


@dataclass(frozen=True)
class Tikhonov(Specification):
    r"""Penalties on the differences of an increment, as a covariance.

    .. math::

        x^T B^{-1} x = \sum_{\mathrm{pixels}} \alpha |\nabla w|^2 + \gamma (\nabla^2 w)^2 + \beta (\nabla \cdot w)^2
                       + \frac{\overline{w}^2}{\sigma^2}

    with forward differences in metres along each axis, :math:`\nabla^2 = -(D_x^T D_x + D_y^T D_y)`, and
    :math:`\overline{w}` the mean over the domain of each component. The square root of gradient and curvature is exact
    and costs one transform. That of the divergence is exact on periodic grids only: elsewhere half of its norm lies
    outside the blocks of a wavenumber, so the bound operator leaves it out and `penalties` returns it as a term of J,
    "divergence".

    Parameters
    ----------
    gradient : float
        :math:`\alpha`, in s2 for a velocity in m/s (in general m2 over the square of the variable's units).
    curvature : float
        :math:`\gamma`, in m2 s2.
    divergence : float
        :math:`\beta`, in s2. For a velocity only.
    mean_std : float, optional
        :math:`\sigma`, standard deviation of the mean over the domain of each component, in the units of the variable.
        Required with free and periodic edges, since a uniform motion has no differences; not allowed with zeros beyond
        the edges, which determine the mean.
    edges : {"free", "zero", "periodic", "appended_zero"}, optional
        Values beyond the edges: none, zeros on all sides, those of the opposite edge, or zeros beyond the far edges
        only (the paper's appended row and column). Default: the grid's.
    truncation : float
        Share of the wavenumbers along each axis in the control, the lowest; 1 keeps all.
    pixel_area : float, optional
        Area in m2 of the pixels for which the weights are stated. The sum is multiplied by the ratio of the grid's
        pixel area to this one, and so approximates the same integral at every resolution; 1 gives weights per m2.
        Default: the pixel area of the grid, as in the paper.

    Notes
    -----
    The paper's rain case is ``Tikhonov(gradient=5e9, divergence=5e6, edges="appended_zero")``.

    References
    ----------
    Filoche, A., Béréziat, D., Brajard, J., Charantonis, A. (2021) Variational assimilation of geophysical images
    leveraging deep learning tools, ORASIS 2021.
    Lepoittevin, Y., Herlin, I. (2016) Regularization terms for motion estimation: links with spatial correlations,
    VISAPP 2016, doi:10.5220/0005712104580466.
    """

    gradient: float
    curvature: float = 0.0
    divergence: float = 0.0
    mean_std: float | None = None
    edges: DifferenceEdges | None = None
    truncation: float = 1.0
    pixel_area: float | None = None

    def _area_ratio(self, grid: Grid) -> float:
        return 1.0 if self.pixel_area is None else math.prod(grid.spacing) / self.pixel_area

    def bind(self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: Device = None) -> Covariance:
        """Return the operator on a grid, without the divergence unless the edges are periodic; see `penalties`."""
        edges = self.edges or grid.edges
        self._check(grid, edges)
        weight = self._area_ratio(grid)
        squares = laplacian_eigenvalues(grid.shape, grid.spacing, edges)
        precision = weight * (self.gradient * squares + self.curvature * squares**2)
        if self.mean_std is not None:
            # The mean is the coefficient of the uniform vector of unit norm over the square root of the points.
            precision[0, 0] = 1 / (grid.size * self.mean_std**2)
        if self.divergence and edges == "periodic":
            symbols = difference_symbols(grid)
            along = precision + weight * self.divergence * symbols.abs().square().sum(0)
            return PeriodicVectorCovariance(along.rsqrt(), precision.rsqrt(), symbols, dtype=dtype, device=device)
        transform = shared_transform(grid.shape, edges, dtype, device, self.truncation)
        return SpectralCovariance(transform, 1 / precision, dtype=dtype, device=device)

    def penalties(self, grid: Grid) -> Mapping[str, Penalty]:
        """Return the divergence as a term of J, ``{"divergence": function}``, unless the operator includes it."""
        edges = self.edges or grid.edges
        if not self.divergence or edges == "periodic":
            return {}
        weight = self.divergence * self._area_ratio(grid)
        return {"divergence": partial(divergence_penalty, grid=grid, weight=weight, edges=edges)}

    def _check(self, grid: Grid, edges: DifferenceEdges) -> None:
        faults = Faults()
        faults.check_numbers(self, {"gradient": 5e9, "curvature": 0.0, "divergence": 0.0}, zero_allowed=True)
        if self.gradient == self.curvature == 0:
            faults.add(
                code="tikhonov-no-weight",
                found="gradient=0 and curvature=0",
                expected="one of them positive",
                fix="gradient=5e9",
            )
        zeros = edges in ("zero", "appended_zero")
        if not zeros and not (self.mean_std is not None and 0 < self.mean_std < math.inf):
            faults.add(
                code="tikhonov-mean-std",
                found=f"mean_std={self.mean_std} with {edges} edges",
                expected="a positive standard deviation of the mean over the domain, which has no differences",
                fix="mean_std=10.0 (in the units of the variable)",
            )
        if zeros and self.mean_std is not None:
            faults.add(
                code="tikhonov-mean-std",
                found=f"mean_std={self.mean_std} with edges={edges!r}",
                expected="no mean_std: the zeros beyond the edges determine the mean",
                fix='mean_std=None or edges="free"',
            )
        if self.pixel_area is not None:
            faults.check_numbers(self, {"pixel_area": 1e6})
        grid.check_plane(faults)
        faults.raise_if_any()


def divergence_penalty(velocity: Tensor, grid: Grid, weight: float, edges: DifferenceEdges | None = None) -> Tensor:
    r"""Return :math:`\frac12 \beta \sum (\nabla \cdot w)^2` of each window (window,), by forward differences.

    The velocity (window, 2, y, x) is in m/s, component 0 along x, and :math:`\beta` (`weight`) in s2. The sum runs over
    the points at which both differences exist: with free edges all but the last row and column, with zeros on all sides
    one row and one column more. `edges` are those of `Tikhonov`, by default the grid's.
    """
    edges = edges or grid.edges
    beyond = {"free": (0, 0, 0, 0), "zero": (1, 1, 1, 1)}.get(edges, (0, 1, 0, 1))
    field = pad(velocity, beyond, mode="circular" if edges == "periodic" else "constant")
    dy, dx = grid.spacing
    along_x = field[:, 0, :-1].diff(dim=-1) / dx
    along_y = field[:, 1, :, :-1].diff(dim=-2) / dy
    return 0.5 * weight * ((along_x + along_y) ** 2).flatten(1).sum(1)
