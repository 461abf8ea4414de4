"""Tiles of a large grid: their weights, J at their points, and the analysis beside that of the whole grid."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.core.moving import FRAME, STILL, moving, vector
from tests.core.numerics import smooth
from xvar.core.cost import Cost, total
from xvar.core.grid import Grid, crop
from xvar.core.methods.image_motion import ImageMotion
from xvar.core.methods.image_problems import ScaledImages, Smoothness, Transient
from xvar.core.methods.motion import deviation
from xvar.core.minimize import LBFGS, GaussNewton, Minimum
from xvar.core.problem import Problem
from xvar.core.solve import CostHistory, minimisations, solve
from xvar.core.tiles import Tiles, minimise_tiles

GRID = Grid((72, 56), (1e3, 1e3))
TIMES = (0.0, FRAME, 2 * FRAME, 3 * FRAME)
RAIN = Transient(Smoothness(20.0, 200.0), lifetime=1.0, source_std=0.09, source_length=3.0, source_lifetime=1.5)
METHOD = ImageMotion(levels=(4, 2), transient=RAIN)
TILES = Tiles(40, 8)
CLOSE = LBFGS(max_evaluations=200, gtol=1e-6, ftol=1e-7)


def images() -> Tensor:
    return moving(GRID, TIMES, vector(4.0, -2.5), STILL)[0]


def problem(values: Tensor | None = None) -> Problem:
    values = images() if values is None else values
    scaled = ScaledImages(values / deviation(values), TIMES, FRAME, GRID, 0.2)
    steady = torch.zeros(len(values), 2, *GRID.shape, dtype=values.dtype)
    return METHOD.transient_problem(scaled, steady + torch.tensor([4.5, -2.0]).to(steady)[:, None, None], RAIN)


# ---- the tiles


@given(st.integers(1, 400), st.integers(1, 400), st.integers(24, 90), st.integers(1, 9))
def test_tiles_cover_a_grid_with_weights_that_add_up_to_one(rows: int, columns: int, side: int, halo: int) -> None:
    tiles, total = Tiles(side, halo), torch.zeros(rows, columns, dtype=torch.float64)
    boxes = tiles.boxes((rows, columns))
    for box in boxes:
        weight = tiles.weight(box, (rows, columns), total)
        assert weight.min() >= 0
        crop(total, box).add_(weight)
    torch.testing.assert_close(total, torch.ones_like(total))
    assert len({tuple(part.stop - part.start for part in box) for box in boxes}) == 1
    assert all(part.stop - part.start <= side for box in boxes for part in box)
    assert tiles.divide((rows, columns)) == (len(boxes) > 1)


@given(st.integers(91, 400), st.integers(40, 90), st.integers(1, 9))
def test_neighbours_share_twice_the_halo_at_least(size: int, side: int, halo: int) -> None:
    tiles = Tiles(side, halo)
    for before, after in pairwise(box[1] for box in tiles.boxes((1, size))):
        assert before.stop - after.start >= 2 * halo - 1  # begins are rounded to points


def test_the_end_of_a_tile_has_no_weight() -> None:
    first, second = (box[1] for box in TILES.boxes((1, 56)))
    weight = TILES.weight((slice(0, 1), first), (1, 56), torch.zeros(()))[0]
    overlap = first.stop - second.start
    assert (weight[-overlap // 4 :] == 0).all()
    assert (weight[:-overlap] == 1).all()


# ---- the problem of a tile


def test_a_part_of_a_problem_is_the_problem_of_that_part() -> None:
    box = (slice(10, 50), slice(4, 44))
    values = images()
    values[:, 2, 20:30, 10:14] = torch.nan
    values[:, -1, 40:44, 30:36] = torch.nan
    whole = problem(values)
    part = whole.crop(box)
    own = replace(
        whole,
        grid=Grid((40, 40), GRID.spacing),
        background={name: field[(..., *box)].clone() for name, field in whole.background.items()},
        observations=tuple(
            replace(
                one,
                operator=replace(one.operator, image=crop(one.operator.image, box), mask=crop(one.operator.mask, box)),
                values=crop(one.values, box),
                valid=crop(one.mask, box),
            )
            for one in whole.observations
        ),
    )
    one, other = Cost(part), Cost(own)
    control = 0.1 * smooth((1, one.space.size), 5)
    for found, expected in zip(one.gradient(control), other.gradient(control), strict=True):
        assert torch.equal(found, expected)
    assert part.number_of_observations() == crop(whole.observations[0].mask, box).sum()


def test_parts_keep_the_spacing_water_and_positions_of_their_points() -> None:
    metric = torch.rand(2, 8, 6, dtype=torch.float64) + 1
    water = torch.rand(8, 6) > 0.5
    positions = torch.linspace(50, 51, 8)[:, None], torch.linspace(3, 4, 6)[None]
    part = Grid((8, 6), (1.0, 1.0), metric, water, "free", positions).crop((slice(2, 7), slice(1, 4)))
    assert part.shape == (5, 3)
    assert torch.equal(part.metric, metric[:, 2:7, 1:4])
    assert torch.equal(part.water, water[2:7, 1:4])
    assert torch.equal(part.positions[0], positions[0][2:7])
    assert torch.equal(part.positions[1], positions[1][:, 1:4])


# ---- the analysis


def converged(tiles: Tiles | None, start: Any = None) -> Any:
    return solve(problem(), CLOSE, levels=(2, 1), coarse=LBFGS(30, 1e-3, 3e-4), tiles=tiles, start=start)


def test_tiles_find_the_minimum_of_the_whole_grid() -> None:
    whole, tiled = converged(None), converged(TILES)
    before, of_whole, of_tiles = (
        total(terms) for terms in (whole.cost_background, whole.cost_analysis, tiled.cost_analysis)
    )
    assert of_tiles - of_whole < 2e-3 * (before - of_whole)
    for name, most in (("transient", 0.1), ("source", 0.08)):
        inner = (..., slice(4, -4), slice(4, -4))
        one, other = whole.increment[name][inner], tiled.increment[name][inner]
        assert (one - other).square().mean().sqrt() < most * one.square().mean().sqrt()
    assert tiled.minimum.reason <= 2
    torch.testing.assert_close(tiled.minimum.cost, of_tiles)


def test_a_grid_of_one_tile_is_minimised_as_a_whole() -> None:
    whole, tiled = converged(None), converged(Tiles(72, 8))
    assert torch.equal(whole.minimum.control, tiled.minimum.control)


def test_seams_are_no_larger_than_what_is_beside_them() -> None:
    whole, tiled = converged(None), converged(TILES)
    change = (tiled.increment["source"] - whole.increment["source"])[0, 0]
    steps, usual = change.diff(dim=0).abs().mean(1), whole.increment["source"][0, 0].diff(dim=0).abs().mean()
    for before, after in pairwise(box[0] for box in TILES.boxes((GRID.shape[0], 1))):
        assert steps[after.start : before.stop].max() < 0.2 * usual


def test_a_tile_without_rain_stops_at_the_decrease_of_the_whole_image() -> None:
    values = images()
    values[:, :, :36] = 0
    calls: list[int] = []

    class Counted(LBFGS):
        def __call__(self, function: Any, control: Tensor, diagonal: Any = None) -> Minimum:
            found = super().__call__(function, control, diagonal)
            calls.append(int(found.evaluations.max()))
            return found

    about = problem(values)
    start = {name: torch.zeros_like(about.background[name]) for name in about.background_error}
    noise = 1e-3 * smooth((1, 2, *GRID.shape), 8)
    tiles = Tiles(40, 4)
    found = minimise_tiles(about, start | {"transient": noise}, Counted(60, 1e-3, 1e-3), tiles)
    dry = [count for count, box in zip(calls, tiles.boxes(GRID.shape), strict=True) if box[0].stop <= 36]
    rainy = [count for count, box in zip(calls, tiles.boxes(GRID.shape), strict=True) if box[0].stop > 60]
    assert found.evaluations == max(calls)
    assert max(dry, default=0) <= 4 < max(rainy)


def test_gauss_newton_minimises_tiles_too() -> None:
    newton = GaussNewton(outer=3, inner=40)
    one, other = (solve(problem(), minimizer, levels=(1,), tiles=TILES) for minimizer in (CLOSE, newton))
    fallen = total(one.cost_background) - one.minimum.cost
    assert (other.minimum.cost - one.minimum.cost).abs() < 0.02 * fallen


def test_the_history_of_tiles_has_their_end() -> None:
    history = CostHistory(1, minimisations((2, 1), CLOSE))
    found = solve(problem(), CLOSE, levels=(2, 1), tiles=TILES, cost_history=history).minimum
    numbers = history.numbers()
    last = numbers["minimisation"] == 2
    assert last.sum() == 1
    torch.testing.assert_close(numbers["cost_history"][last], found.cost.to(numbers["cost_history"].dtype))


def test_windows_of_a_batch_do_not_mix() -> None:
    values = torch.cat([images(), moving(GRID, TIMES, vector(5.0, -3.5), STILL)[0]])
    together = solve(problem(values), CLOSE, levels=(2, 1), tiles=TILES)
    for window in range(2):
        alone = solve(problem(values).select(torch.tensor([window])), CLOSE, levels=(2, 1), tiles=TILES)
        assert torch.equal(alone.increment["transient"][0], together.increment["transient"][window])
        assert alone.minimum.evaluations[0] == together.minimum.evaluations[window]


@pytest.mark.parametrize("tile", [40, 24])
def test_the_halo_holds_the_displacement_of_three_frames(tile: int) -> None:
    method = replace(METHOD, tile=tile)
    steady = torch.zeros(1, 2, *GRID.shape)
    steady[:, 0, 3, 3] = 2.5 * GRID.spacing[1] / FRAME
    tiles = method._tiles(steady, FRAME, GRID)
    assert tiles == Tiles(tile, min(32 + 3 * 3, tile // 4))
    assert METHOD._tiles(steady, FRAME, GRID) is None
