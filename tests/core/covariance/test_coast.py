from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.core.covariance.operators import OperatorTests, dense, relative
from tests.core.numerics import random
from xvar.core.covariance import Covariance, Helmholtz, Specification, StreamPotential
from xvar.core.covariance.coast import RIDGE, CoastFaces, NoFlowCovariance
from xvar.core.covariance.helmholtz import period_around
from xvar.core.grid import Grid, block_mean


def sea(ny: int, nx: int) -> Tensor:
    """A bay in the south west and an island."""
    water = torch.ones(ny, nx, dtype=torch.bool)
    water[: ny // 3, : nx // 3] = False
    water[2 * ny // 3, 2 * nx // 3 : 2 * nx // 3 + 2] = False
    return water


GRID = Grid((11, 9), (900.0, 1200.0), water=sea(11, 9))
WIDE = Grid((30, 26), (1000.0, 1000.0), water=sea(30, 26))
LENGTH = 8000.0
KINDS: list[Callable[..., Specification]] = [Helmholtz, StreamPotential]


def through(motion: Tensor, water: Tensor) -> Tensor:
    """The flow through the coast, by hand."""
    west_east, south_north = water[:, 1:] != water[:, :-1], water[1:] != water[:-1]
    u, v = motion[:, 0], motion[:, 1]
    along_x = 0.5 * (u[:, :, 1:] + u[:, :, :-1])[:, west_east]
    along_y = 0.5 * (v[:, 1:] + v[:, :-1])[:, south_north]
    return torch.cat([along_x, along_y], dim=1)


class TestNoFlow(OperatorTests):
    """The mixin without the inverse: flow through the coast is known to be zero, so B has a null space."""

    iterative = True
    shape = (3, 2, 11, 9)

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return Helmholtz(0.6, 3000.0, 0.4, coast="no_flow").bind(GRID, dtype=dtype, device=device)

    def test_it_is_positive(self) -> None:
        values = torch.linalg.eigvalsh(self.matrix())
        assert float(values.min()) > -1e-12 * float(values.max())
        faces = len(through(torch.zeros(1, 2, 11, 9), sea(11, 9))[0])
        assert int((values < 10 * RIDGE * values.max()).sum()) == faces

    def test_solve_inverts_apply(self) -> None:
        """Of motions that do not cross the coast."""
        operator = self.operator()
        x = operator.sqrt(self.draw_control(0))
        assert relative(operator.apply(operator.solve(x)), x) < 1e-3

    def test_samples_have_the_stated_covariance(self) -> None:
        sample = self.operator().sample((4000, 2, 11, 9), torch.Generator().manual_seed(0)).flatten(1)
        matrix = self.matrix()
        scale = matrix.diagonal().sqrt()
        found = (sample / scale).T @ (sample / scale) / len(sample)
        assert float((found - matrix / (scale[:, None] * scale)).abs().max()) < 6 * (2 / len(sample)) ** 0.5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "gate"), [(torch.float64, 1e-3), (torch.float32, 2e-3)])
def test_nothing_flows_through_the_coast(kind: Callable[..., Specification], dtype: torch.dtype, gate: float) -> None:
    motion = {
        coast: kind(0.6, LENGTH, 0.4, coast=coast)
        .bind(WIDE, dtype=dtype)
        .sample((20, 2, 30, 26), torch.Generator().manual_seed(0))
        for coast in ("free", "no_flow")
    }
    flow = {coast: through(part, sea(30, 26)) for coast, part in motion.items()}
    assert flow["free"].shape[1] == 10 + 8 + 6  # the bay, and the island of two cells
    assert float(flow["free"].std()) > 0.4
    assert float(flow["no_flow"].abs().max()) < gate
    assert float(motion["no_flow"][:, :, sea(30, 26)].std()) > 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_conditional_covariance(kind: Callable[..., Specification]) -> None:
    """By dense algebra, with the flow through the faces as observations."""
    free, closed = (
        kind(0.6, 3000.0, 0.4, coast=coast).bind(GRID, dtype=torch.float64) for coast in ("free", "no_flow")
    )
    shape = (1, 2, *GRID.shape)
    before = dense(free.apply, shape)
    observed = dense(lambda motion: through(motion, sea(11, 9)), shape)
    seen = observed @ before @ observed.T
    seen.diagonal().add_(RIDGE * seen.diagonal().max())
    expected = before - before @ observed.T @ torch.linalg.solve(seen, observed @ before)
    assert relative(dense(closed.apply, shape), expected) < 1e-4  # the root counts the flow that is left twice
    root = dense(closed.sqrt, closed.control_shape(shape))
    assert relative(dense(closed.sqrt_transpose, shape), root.T) < 1e-10


def test_far_from_the_coast_and_without_one_it_is_the_same() -> None:
    """At a distance of many lengths: correlations without divergence fall with its square."""
    wide = Grid((60, 12), (1000.0, 1000.0), water=torch.ones(60, 12, dtype=torch.bool))
    for water in (None, wide.water, ~wide.water):  # type: ignore[operator]
        grid = Grid(wide.shape, wide.spacing, water=water)
        assert not isinstance(Helmholtz(0.6, 2000.0, 0.1, coast="no_flow").bind(grid), NoFlowCovariance)
    wide.water[:5, :5] = False  # type: ignore[index]
    point = torch.zeros(1, 2, 60, 12, dtype=torch.float64)
    point[0, :, 50, 6] = 1
    free, closed = (
        Helmholtz(0.6, 2000.0, 1e-3, coast=coast).bind(wide, dtype=torch.float64).apply(point)
        for coast in ("free", "no_flow")
    )
    assert relative(closed, free) < 0.1


def test_along_a_straight_coast_the_motion_stays_and_across_it_goes() -> None:
    """Beside a wall in the west: the variance of v is hardly less, that of u falls toward the face."""
    water = torch.ones(24, 24, dtype=torch.bool)
    water[:, :8] = False
    grid = Grid((24, 24), (1000.0, 1000.0), water=water)
    free, closed = (
        StreamPotential(0.6, LENGTH, 0.4, coast=coast).bind(grid, dtype=torch.float64) for coast in ("free", "no_flow")
    )
    share = []
    for component in (0, 1):
        points = torch.zeros(4, 2, 24, 24, dtype=torch.float64)
        for row, column in enumerate((8, 9, 11, 14)):
            points[row, component, 12, column] = 1
        share.append([float((closed.apply(points) * points).sum((1, 2, 3))[k]) for k in range(4)])
        before = float((free.apply(points) * points).sum((1, 2, 3))[0])
        share[-1] = [part / before for part in share[-1]]
    across, along = share
    assert across == sorted(across)
    assert across[0] < 0.05
    assert min(along) > 0.4


@pytest.mark.parametrize("factor", [2, 4])
def test_a_refined_motion_does_not_cross_the_coast(factor: int) -> None:
    period = period_around(WIDE, LENGTH, 4)
    coarse, fine = (
        StreamPotential(0.6, LENGTH, 0.4, period=period, coast="no_flow").bind(grid, dtype=torch.float64)
        for grid in (WIDE.coarsen(factor), WIDE)
    )
    control = random(coarse.control_shape((2, 2, 30, 26)), 1)
    control[:, :, :, 3:-2] = 0  # long waves, which both grids hold alike
    control[..., 3:] = 0
    found = fine.refine(coarse, control)
    assert found is not None
    motion = fine.sqrt(found)
    assert float(through(motion, sea(30, 26)).abs().max()) < 1e-3 * float(motion.std())
    # A coarse coast is not where the fine one is: about the same motion is closed there.
    rows, columns = 28 // factor, 24 // factor
    carried, expected = block_mean(motion, factor), coarse.sqrt(control)
    assert relative(carried[..., :rows, :columns], expected[..., :rows, :columns]) < 0.7


def test_the_faces_of_a_mask() -> None:
    water = sea(30, 26)
    water[25, 4] = False  # a rock of one cell, which two faces of either direction share
    faces = CoastFaces.of(water)
    assert len(faces) == 24 + 4
    motion = random((2, 2, 30, 26), 0)
    assert torch.equal(faces.flow(motion), through(motion, water))
    flow = random((2, 28), 1)
    spread = faces.flow_transpose(flow, (30, 26))
    torch.testing.assert_close((spread * motion).sum((1, 2, 3)), (flow * faces.flow(motion)).sum(1))


def test_faces_go_to_a_device_together() -> None:
    faces = CoastFaces.of(sea(11, 9)).to(torch.device("meta"))
    assert (faces.along_x.device.type, faces.along_y.device.type) == ("meta", "meta")
