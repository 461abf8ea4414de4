"""No flow through the coast: a covariance of motions on condition that none crosses it."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xvar.core.covariance.base import Covariance, Shape
from xvar.core.covariance.linear import linear
from xvar.core.grid import Grid
from xvar.errors import Fault, InputError

Coast = Literal["free", "no_flow"]

COASTS: tuple[Coast, ...] = ("free", "no_flow")

#: Of the largest variance of the flow through a face: what it is known to. Less would ask more of single precision.
RIDGE = 1e-6
#: Faces of a coast: their covariances take half a gigabyte, and a minute to factorise.
MOST_FACES = 8000


@dataclass(frozen=True)
class CoastFaces:
    """The faces between water and land of a grid.

    Parameters
    ----------
    along_x, along_y : Tensor of int (2, face)
        Row and column of the cell before each face, which is crossed along x or along y.
    """

    along_x: Tensor
    along_y: Tensor

    @classmethod
    def of(cls, water: Tensor) -> CoastFaces:
        """Those of a mask (y, x); none at the edges of the grid, beyond which nothing is known."""
        return cls(
            (water[:, 1:] != water[:, :-1]).nonzero().T.contiguous(),
            (water[1:] != water[:-1]).nonzero().T.contiguous(),
        )

    def __len__(self) -> int:
        return self.along_x.shape[1] + self.along_y.shape[1]

    def to(self, device: torch.device) -> CoastFaces:
        """The same on a device."""
        return CoastFaces(self.along_x.to(device), self.along_y.to(device))

    def through(self, motion: Tensor) -> Tensor:
        """The motion (window, 2, y, x) through each face (window, face): the mean of the cells at both its sides."""
        (j, i), (k, m) = self.along_x, self.along_y
        u, v = motion[:, 0], motion[:, 1]
        return 0.5 * torch.cat([u[:, j, i] + u[:, j, i + 1], v[:, k, m] + v[:, k + 1, m]], dim=1)

    def spread(self, flow: Tensor, shape: Shape) -> Tensor:
        """The adjoint of `through`, to a motion of this shape (y, x)."""
        motion = flow.new_zeros(len(flow), 2, *shape)
        (j, i), (k, m) = self.along_x, self.along_y
        half = 0.5 * flow
        # One window after the other, in the order of the faces, so that a sum has the same bits whatever the batch.
        for field, values in zip(motion, half, strict=True):
            along_x, along_y = values.split([self.along_x.shape[1], self.along_y.shape[1]])
            for index in ((j, i), (j, i + 1)):
                field[0].index_put_(index, along_x, accumulate=True)
            for index in ((k, m), (k + 1, m)):
                field[1].index_put_(index, along_y, accumulate=True)
        return motion

    def covariance(self, response: Tensor) -> Tensor:
        """Covariance (face, face) of the flow through them, of a motion with the same statistics everywhere.

        Parameters
        ----------
        response : Tensor (2, 2, y, x)
            Covariance of each component with each component of a motion, by the distance between the two points in
            cells, on a periodic grid.
        """
        rows, columns = response.shape[-2:]
        parts = []
        for first, own in enumerate((self.along_x, self.along_y)):
            blocks = []
            for second, other in enumerate((self.along_x, self.along_y)):
                # A face is the mean of two cells: along its own direction each has a neighbour.
                table = response[first, second]
                table = 0.5 * (table + table.roll(-1, 1 - first - 2))
                table = 0.5 * (table + table.roll(1, 1 - second - 2))
                dy, dx = (own[:, :, None] - other[:, None]).unbind(0)
                blocks.append(table[dy % rows, dx % columns])
            parts.append(torch.cat(blocks, dim=1))
        return torch.cat(parts)


def with_coast(
    free: Covariance, everywhere: Callable[[], Covariance], larger: Shape, grid: Grid, coast: Coast
) -> Covariance:
    """A covariance of motions as it is, or on condition that nothing flows through the coast of a grid.

    Parameters
    ----------
    free : Covariance
        Of a motion that goes on over land, with the same statistics everywhere.
    everywhere : callable () -> Covariance
        Makes the same in double precision on a periodic grid of the shape `larger`.
    larger : tuple of int
    grid : Grid
    coast : {"free", "no_flow"}

    Raises
    ------
    InputError
        Where the coast has more faces than `MOST_FACES`, or `coast` is no word that is known.
    """
    if coast not in COASTS:
        words = ", ".join(map(repr, COASTS))
        raise InputError(Fault(f"coast={coast!r}", f"one of {words}", 'coast="free"'))
    if coast == "free" or grid.water is None:
        return free
    faces = CoastFaces.of(grid.water.cpu())
    if not len(faces):
        return free
    if len(faces) > MOST_FACES:
        raise InputError(
            Fault(
                f"a coast of {len(faces)} faces between water and land",
                f"{MOST_FACES} or fewer, whose covariances can be inverted",
                'coast="free", or a land mask without lakes and rocks',
            )
        )
    points = torch.zeros(2, 2, *larger, dtype=torch.float64)
    points[0, 0, 0, 0] = points[1, 1, 0, 0] = 1
    return NoFlowCovariance(free, faces, faces.covariance(everywhere().apply(points).transpose(0, 1)))


class NoFlowCovariance(Covariance):
    r"""A covariance of motions on condition that nothing flows through the coast.

    .. math::

        B_c = B - B N^T (N B N^T + r)^{-1} N B, \qquad
        B_c^{1/2} = B^{1/2} \bigl(I - B^{T/2} N^T (N B N^T + r)^{-1} N B^{1/2}\bigr)

    with N the flow through the faces between water and land, and r a millionth of its variance. The statistics are
    those of B far from the coast and along it.

    Parameters
    ----------
    free : Covariance
        B, with the same statistics everywhere.
    faces : CoastFaces
    covariance : Tensor (face, face)
        Of the flow through them, :math:`N B N^T`, in double precision.
    """

    def __init__(self, free: Covariance, faces: CoastFaces, covariance: Tensor) -> None:
        self._free = free
        self.dtype, self.device = free.dtype, free.device
        known = covariance + RIDGE * covariance.diagonal().max() * torch.eye(len(covariance), dtype=covariance.dtype)
        self._faces = faces.to(self.device)
        self._root = torch.linalg.cholesky(known).to(self.device)

    def control_shape(self, shape: Shape) -> Shape:
        """That of B."""
        return self._free.control_shape(shape)

    def sqrt(self, control: Tensor) -> Tensor:
        """That of B, of a control whose motion does not cross the coast."""
        return self._free.sqrt(self.closed(control))

    def sqrt_transpose(self, state: Tensor) -> Tensor:
        """Adjoint of `sqrt`."""
        return self.closed(self._free.sqrt_transpose(state))

    def closed(self, control: Tensor) -> Tensor:
        """The nearest control whose motion does not cross the coast; the map is its own adjoint."""
        return linear(control, self._closed, self._closed)

    def _closed(self, control: Tensor) -> Tensor:
        motion = self._free.sqrt(control)
        flow = self._faces.through(motion).to(self._root.dtype)
        weights = torch.stack([torch.cholesky_solve(one[:, None], self._root)[:, 0] for one in flow])
        return control - self._free.sqrt_transpose(self._faces.spread(weights.to(motion), tuple(motion.shape[-2:])))

    def solve(self, state: Tensor) -> Tensor:
        """That of B: the same for motions that do not cross the coast, whose norm is the same."""
        return self._free.solve(state)

    def refine(self, coarse: Covariance, control: Tensor) -> Tensor | None:
        """That of B, of a control whose motion does not cross the coast of the coarse grid."""
        assert isinstance(coarse, NoFlowCovariance)
        return self._free.refine(coarse._free, coarse.closed(control))

    def inverse_hessian(self, curvature: Tensor, shape: Shape) -> Tensor | None:
        """That of B, about."""
        return self._free.inverse_hessian(curvature, shape)

    def select(self, windows: Tensor) -> NoFlowCovariance:
        """B of some windows."""
        part = copy(self)
        part._free = self._free.select(windows)
        return part
