"""Covariances of motions conditional on no flow through the coast."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xvar.core.covariance.base import Covariance, Shape
from xvar.core.grid import Device, Grid
from xvar.core.linear_maps import linear
from xvar.errors import Faults

Coast = Literal["free", "no_flow"]

COASTS: tuple[Coast, ...] = ("free", "no_flow")

#: Variance of the remaining flow through a face, relative to the largest; single precision allows no less.
RIDGE = 1e-6
#: Largest number of faces; their covariance matrix takes half a gigabyte, and a minute to factorise.
MOST_FACES = 8000


@dataclass(frozen=True)
class CoastFaces:
    """Faces between water and land: row and column (2, face) of the cell before each.

    `along_x` are crossed along x, `along_y` along y.
    """

    along_x: Tensor
    along_y: Tensor

    @classmethod
    def of(cls, water: Tensor) -> CoastFaces:
        """Return the faces of a mask (y, x), without the edges of the grid."""
        return cls(
            (water[:, 1:] != water[:, :-1]).nonzero().T.contiguous(), (water[1:] != water[:-1]).nonzero().T.contiguous()
        )

    def __len__(self) -> int:
        return self.along_x.shape[1] + self.along_y.shape[1]

    def to(self, device: torch.device) -> CoastFaces:
        """Return the faces on a device."""
        return CoastFaces(self.along_x.to(device), self.along_y.to(device))

    def flow(self, motion: Tensor) -> Tensor:
        """Return the mean of the motion (window, 2, y, x) of the two cells of each face (window, face)."""
        (j, i), (k, m) = self.along_x, self.along_y
        u, v = motion[:, 0], motion[:, 1]
        return 0.5 * torch.cat([u[:, j, i] + u[:, j, i + 1], v[:, k, m] + v[:, k + 1, m]], dim=1)

    def flow_transpose(self, flow: Tensor, shape: Shape) -> Tensor:
        """Return the adjoint of `flow`, a motion on the grid (y, x)."""
        motion = flow.new_zeros(len(flow), 2, *shape)
        (j, i), (k, m) = self.along_x, self.along_y
        half = 0.5 * flow
        # One window after the other, in the order of the faces: the bits do not depend on the batch.
        for field, values in zip(motion, half, strict=True):
            along_x, along_y = values.split([self.along_x.shape[1], self.along_y.shape[1]])
            for index in ((j, i), (j, i + 1)):
                field[0].index_put_(index, along_x, accumulate=True)
            for index in ((k, m), (k + 1, m)):
                field[1].index_put_(index, along_y, accumulate=True)
        return motion

    def covariance(self, response: Tensor) -> Tensor:
        """Return the covariance (face, face) of the flow of a homogeneous motion through the faces.

        `response` (2, 2, y, x) is the covariance of its components with each other by the distance of two points in
        cells, on a periodic grid.
        """
        rows, columns = response.shape[-2:]
        parts = []
        for first, own in enumerate((self.along_x, self.along_y)):
            blocks = []
            for second, other in enumerate((self.along_x, self.along_y)):
                # The flow through a face is the mean of the two cells along its direction.
                table = response[first, second]
                table = 0.5 * (table + table.roll(-1, 1 - first - 2))
                table = 0.5 * (table + table.roll(1, 1 - second - 2))
                dy, dx = (own[:, :, None] - other[:, None]).unbind(0)
                blocks.append(table[dy % rows, dx % columns])
            parts.append(torch.cat(blocks, dim=1))
        return torch.cat(parts)


def with_coast(
    make: Callable[..., Covariance], larger: Shape, grid: Grid, coast: Coast, *, dtype: torch.dtype, device: Device
) -> Covariance:
    """Return a covariance of motions, conditional on no flow through the coast of a grid if asked for.

    ``make(shape, dtype=, device=)`` returns the homogeneous covariance over water and land on a domain of the periodic
    grid of the shape `larger`. Raises InputError if the coast has more faces than `MOST_FACES`.
    """
    faults = Faults()
    faults.check_choice("coast", coast, COASTS, "free")
    faults.raise_if_any()
    free = make(grid.shape, dtype=dtype, device=device)
    if coast == "free" or grid.water is None:
        return free
    faces = CoastFaces.of(grid.water.cpu())
    if not len(faces):
        return free
    if len(faces) > MOST_FACES:
        faults.add(
            code="coast-too-long",
            found=f"a coast of {len(faces)} faces between water and land",
            expected=f"{MOST_FACES} or fewer, whose covariance matrix can be factorised",
            fix='coast="free", or a land mask without lakes and rocks',
        )
        faults.raise_if_any()
    points = torch.zeros(2, 2, *larger, dtype=torch.float64)
    points[0, 0, 0, 0] = points[1, 1, 0, 0] = 1
    response = make(larger, dtype=torch.float64).apply(points).transpose(0, 1)
    return NoFlowCovariance(free, faces, faces.covariance(response))


class NoFlowCovariance(Covariance):
    r"""A covariance of motions conditional on no flow through the coast.

    .. math::

        B_c = B - B N^T (N B N^T + r)^{-1} N B, \qquad
        B_c^{1/2} = B^{1/2} \bigl(I - B^{T/2} N^T (N B N^T + r)^{-1} N B^{1/2}\bigr)

    with B homogeneous (`free`), N the flow through the faces between water and land, its covariance :math:`N B N^T`
    (face, face) in double precision, and r a millionth of its variance. Far from the coast, and along it, the
    statistics are those of B.
    """

    _of_windows = ("_free",)

    def __init__(self, free: Covariance, faces: CoastFaces, covariance: Tensor) -> None:
        self._free = free
        self.dtype, self.device = free.dtype, free.device
        known = covariance + RIDGE * covariance.diagonal().max() * torch.eye(len(covariance), dtype=covariance.dtype)
        self._faces = faces.to(self.device)
        self._root = torch.linalg.cholesky(known).to(self.device)

    def control_shape(self, shape: Shape) -> Shape:
        """Return the shape of the control of B."""
        return self._free.control_shape(shape)

    def sqrt(self, control: Tensor) -> Tensor:
        """Apply the root of B to the projected control."""
        return self._free.sqrt(self.project(control))

    def sqrt_transpose(self, state: Tensor) -> Tensor:
        """Return the adjoint of `sqrt`."""
        return self.project(self._free.sqrt_transpose(state))

    def project(self, control: Tensor) -> Tensor:
        """Project a control to the nearest one whose motion does not cross the coast; self-adjoint."""
        return linear(control, self._project, self._project)

    def _project(self, control: Tensor) -> Tensor:
        motion = self._free.sqrt(control)
        flow = self._faces.flow(motion).to(self._root.dtype)
        weights = torch.stack([torch.cholesky_solve(one[:, None], self._root)[:, 0] for one in flow])
        return control - self._free.sqrt_transpose(
            self._faces.flow_transpose(weights.to(motion), tuple(motion.shape[-2:]))
        )

    def solve(self, state: Tensor) -> Tensor:
        """Apply the inverse of B, which gives motions that do not cross the coast the same norm."""
        return self._free.solve(state)

    def refine(self, coarse: Covariance, control: Tensor) -> Tensor | None:
        """Refine the control of B that is projected on the coarse grid."""
        assert isinstance(coarse, NoFlowCovariance)
        return self._free.refine(coarse._free, coarse.project(control))

    def inverse_hessian(self, curvature: Tensor, shape: Shape) -> Tensor | None:
        """Approximate it by that of B."""
        return self._free.inverse_hessian(curvature, shape)
