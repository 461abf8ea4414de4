from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.core.numerics import DTYPES, generator, order, random, smooth
from xvar.core.grid import EDGES
from xvar.core.interpolate import SAMPLERS, Sampler, identity, sample

# Two axes of unlike lengths and points: an exchange of x and y cannot pass.
LENGTH_Y, LENGTH_X = 1.0, 1.7


def wave(y: Tensor, x: Tensor) -> Tensor:
    return torch.sin(2 * math.pi * x / LENGTH_X + 0.3) + 0.6 * torch.cos(
        2 * math.pi * (y / LENGTH_Y + x / LENGTH_X) + 1
    )


def wave_slopes(y: Tensor, x: Tensor) -> Tensor:
    along_y = -0.6 * 2 * math.pi / LENGTH_Y * torch.sin(2 * math.pi * (y / LENGTH_Y + x / LENGTH_X) + 1)
    along_x = 2 * math.pi / LENGTH_X * torch.cos(2 * math.pi * x / LENGTH_X + 0.3) + along_y * LENGTH_Y / LENGTH_X
    return torch.stack((along_y, along_x)).square().sum(0).sqrt()


def errors(sampler: str, edges: str, norm: Callable[[Tensor, Tensor], float]) -> tuple[list[float], list[float]]:
    """Spacing and error, from coarse grids to fine ones, at the same random places of the plane."""
    places = torch.rand(2, 20_000, generator=generator(1), dtype=torch.float64)
    if edges == "free":
        places = 0.2 + 0.6 * places
    y, x = places[0] * LENGTH_Y, places[1] * LENGTH_X
    sizes, found = [], []
    for cells in (20, 40, 80, 160):
        ny, nx = cells, cells + cells // 2
        dy, dx = (LENGTH_Y / ny, LENGTH_X / nx)
        grid_y, grid_x = torch.arange(ny, dtype=torch.float64) * dy, torch.arange(nx, dtype=torch.float64) * dx
        field = wave(grid_y[:, None], grid_x)[None, None]
        values = sample(field, torch.stack((x / dx, y / dy))[None], sampler, edges)
        sizes.append(1 / cells)
        found.append(norm(values[0, 0] - wave(y, x), wave_slopes(y, x)))
    return sizes, found


@pytest.mark.parametrize("edges", ["free", "periodic"])
@pytest.mark.parametrize(("sampler", "expected"), [("bilinear", 2), ("cubic", 3)])
def test_order_at_random_offsets(sampler: str, expected: int, edges: str) -> None:
    for norm in (lambda e, s: float(e.square().mean().sqrt()), lambda e, s: float(e.abs().max())):
        assert order(*errors(sampler, edges, norm)) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("edges", ["free", "periodic"])
def test_order_of_the_monotone_cubic_away_from_extrema(edges: str) -> None:
    def away(error: Tensor, slope: Tensor) -> float:
        return float(error[slope > 2].abs().mean())

    assert order(*errors("monotone", edges, away)) == pytest.approx(3, abs=0.1)


def test_keys_cubic_reproduces_parabolas_and_bilinear_ramps() -> None:
    # a = -3/4, which torch's bicubic has, does not even reproduce a ramp.
    y, x = torch.arange(9, dtype=torch.float64)[:, None], torch.arange(12, dtype=torch.float64)
    where = 2 + torch.rand(1, 2, 200, generator=generator(2), dtype=torch.float64) * torch.tensor([[7.0], [4.0]])
    parabola = 1 + x - 2 * y + 0.5 * x * x - 0.3 * y * y + 0.2 * x * y * y
    exact = 1 + where[:, 0] - 2 * where[:, 1] + 0.5 * where[:, 0] ** 2 - 0.3 * where[:, 1] ** 2
    exact = exact + 0.2 * where[:, 0] * where[:, 1] ** 2
    assert (sample(parabola[None, None], where, "cubic")[:, 0] - exact).abs().max() < 1e-12
    ramp = (1 + x - 2 * y + 0.4 * x * y)[None, None]
    exact = 1 + where[:, 0] - 2 * where[:, 1] + 0.4 * where[:, 0] * where[:, 1]
    assert (sample(ramp, where, "bilinear")[:, 0] - exact).abs().max() < 1e-12


@pytest.mark.parametrize("edges", EDGES)
def test_monotone_makes_no_new_extremum_where_cubic_does(edges: str) -> None:
    field = (random((2, 3, 9, 12), 3) > 0).double()
    anywhere = -4 + torch.rand(2, 2, 4000, generator=generator(4), dtype=torch.float64) * 20
    values = sample(field, anywhere, "monotone", edges)
    assert values.min() >= 0
    assert values.max() <= 1
    overshoot = sample(field, anywhere, "cubic", edges)
    assert overshoot.max() > 1.05
    assert overshoot.min() < -0.05


def test_monotone_stays_within_the_corners_of_its_cell_and_is_cubic_where_that_does() -> None:
    field = random((1, 1, 9, 12), 5)
    where = torch.rand(1, 2, 3000, generator=generator(6), dtype=torch.float64) * torch.tensor([[11.0], [8.0]])
    column, row = where[0].floor().long()
    corners = torch.stack([field[0, 0, row + i, column + j] for i in (0, 1) for j in (0, 1)])
    monotone, cubic = (sample(field, where, sampler)[0, 0] for sampler in ("monotone", "cubic"))
    assert torch.equal(monotone, cubic.clamp(corners.amin(0), corners.amax(0)))
    assert 0.01 < (monotone != cubic).double().mean() < 0.9


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_grid_points_give_their_own_values(sampler: str, edges: str, dtype: torch.dtype) -> None:
    field = random((2, 3, 7, 10), 7, dtype)
    here = identity((7, 10), field).expand(2, -1, -1, -1)
    tolerance = 1e-14 if dtype == torch.float64 else 1e-5
    assert (sample(field, here, sampler, edges) - field).abs().max() <= tolerance


@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_values_beyond_the_edges(sampler: str, edges: str) -> None:
    """Every position on a wider grid, against the field written out that far."""
    height, width, ring = 6, 9, 8
    field = random((1, 2, height, width), 8)
    y = torch.arange(-ring, height + ring)
    x = torch.arange(-ring, width + ring)
    if edges == "periodic":
        wide = field[:, :, y % height][..., x % width]
    else:
        wide = field[:, :, y.clamp(0, height - 1)][..., x.clamp(0, width - 1)]
        if edges == "zero":
            inside = ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))
            wide = wide * inside
    span = torch.tensor([[width + 8.0], [height + 8.0]])
    where = -4.5 + torch.rand(1, 2, 5000, generator=generator(9), dtype=torch.float64) * span
    written_out = where
    if edges == "free":  # a value beyond the edge is the value at the nearest point of the edge, in the last cell
        inner = 1e-13
        ends = (where[:, 0].clamp(inner, width - 1 - inner), where[:, 1].clamp(inner, height - 1 - inner))
        written_out = torch.stack(ends, dim=1)
    expected = sample(wide, written_out + ring, sampler, "free")
    assert (sample(field, where, sampler, edges) - expected).abs().max() < 1e-12


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_far_outside(sampler: str) -> None:
    field = 5 + random((1, 1, 6, 9), 10).abs()
    far = torch.tensor([[[-50.0, 60.0, 4.0, 4.0], [2.0, 2.0, -40.0, 50.0]]], dtype=torch.float64)
    assert torch.equal(sample(field, far, sampler, "zero"), torch.zeros(1, 1, 4, dtype=torch.float64))
    nearest = torch.stack([field[0, 0, 2, 0], field[0, 0, 2, 8], field[0, 0, 0, 4], field[0, 0, 5, 4]])
    assert (sample(field, far, sampler, "free")[0, 0] - nearest).abs().max() < 1e-14
    turns = far + torch.tensor([[[9.0 * 7, -9.0 * 3, 0, 0], [0, 0, 6.0 * 5, -6.0 * 11]]])
    assert (sample(field, far, sampler, "periodic") - sample(field, turns, sampler, "periodic")).abs().max() < 1e-13


def test_the_ring_of_zeros_falls_linearly_to_zero_in_one_cell() -> None:
    field = torch.ones(1, 1, 4, 5, dtype=torch.float64)
    x = torch.tensor([-1.0, -0.75, -0.25, 0.0, 4.25, 4.75, 5.0], dtype=torch.float64)
    found = sample(field, torch.stack((x, torch.full_like(x, 2.0)))[None], "bilinear", "zero")[0, 0]
    expected = torch.tensor([0.0, 0.25, 0.75, 1.0, 0.75, 0.25, 0.0], dtype=torch.float64)
    assert (found - expected).abs().max() < 1e-14


@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_points_and_grids_of_points_agree_and_windows_keep_apart(sampler: str, edges: str) -> None:
    field = smooth((3, 2, 7, 10), 11)
    where = 4 + 4 * random((3, 2, 5, 6), 12)
    on_grid = sample(field, where, sampler, edges)
    assert on_grid.shape == (3, 2, 5, 6)
    at_points = sample(field, where.flatten(2), sampler, edges)
    assert at_points.shape == (3, 2, 30)
    assert torch.equal(at_points.view(3, 2, 5, 6), on_grid)
    for window in range(3):
        alone = sample(field[window : window + 1], where[window : window + 1], sampler, edges)
        assert torch.equal(alone, on_grid[window : window + 1])


@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_mirrored_field_gives_mirrored_values_and_the_cubic_mirrored_gradients_at_rest(
    sampler: str, edges: str
) -> None:
    field = smooth((1, 1, 7, 10), 13)
    for axis, component in ((-1, 0), (-2, 1)):
        last = field.shape[axis] - 1

        def mirrored(where: Tensor, axis: int = axis, component: int = component, last: int = last) -> Tensor:
            turned = where.flip(axis).clone()
            turned[:, component] = last - turned[:, component]
            return turned

        moved = identity((7, 10), field) + random((1, 2, 7, 10), 14)
        found = sample(field.flip(axis), mirrored(moved), sampler, edges)
        assert (found.flip(axis) - sample(field, moved, sampler, edges)).abs().max() < 1e-13
        if sampler == "cubic":  # at rest the others have a kink
            rest = identity((7, 10), field).requires_grad_()
            weight = smooth((1, 1, 7, 10), 15)
            (plain,) = torch.autograd.grad((sample(field, rest, sampler, edges) * weight).sum(), rest)
            turned = sample(field.flip(axis), mirrored(rest), sampler, edges).flip(axis)
            (other,) = torch.autograd.grad((turned * weight).sum(), rest)
            assert (plain - other).abs().max() < 1e-12


@pytest.mark.parametrize("broken", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_nan_position_gives_nan_and_does_not_disturb_others(sampler: Sampler, broken: float) -> None:
    """`grid_sample` alone crashes the process in its adjoint here."""
    field = torch.rand(2, 1, 6, 7, dtype=torch.float64, requires_grad=True)
    position = (identity((6, 7), field.detach()) + 0.3).repeat(2, 1, 1, 1)
    whole = sample(field, position, sampler)
    position[1, 0, 2, 3] = broken
    position.requires_grad_()
    values = sample(field, position, sampler)
    assert values[1, 0, 2, 3].isnan()
    assert torch.equal(values[0], whole[0])
    assert int(values.isnan().sum()) == 1
    gradients = torch.autograd.grad(values.nansum(), (field, position))
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
