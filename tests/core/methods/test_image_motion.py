from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.moving import DEFORMATION, FRAME, ROTATION, STILL, metres, moving, vector
from tests.core.numerics import random
from xvar.core.grid import Grid
from xvar.core.methods.image_motion import ImageMotion
from xvar.core.methods.image_problems import Smoothness, Transient
from xvar.core.methods.motion import Motion, carried, damp_shortest, deviation, fitting
from xvar.core.minimize import LBFGS, Minimum
from xvar.core.models.parcels import decay_integral

GRID = Grid((64, 64), (1e3, 1e3))
SMALL = Grid((40, 32), (1e3, 1e3))
TIMES = (0.0, FRAME, 2 * FRAME, 3 * FRAME)
RAIN = Transient(Smoothness(20.0, 200.0), lifetime=1.0, source_std=0.09, source_length=3.0, source_lifetime=1.5)
TO_THE_GRID = ImageMotion(levels=(4, 2, 1))
CONVERGED = LBFGS(max_evaluations=3000, gtol=1e-12, ftol=0.0, history_size=20)

Results = Mapping[str, Tensor]


def motion(results: Results, step: int = -1) -> Tensor:
    return torch.stack((results["u"][:, step], results["v"][:, step]), dim=1)


def error(found: Tensor, velocity: Tensor, margin: int = 8) -> float:
    """Relative RMSE, away from the edges over which the image comes and goes unseen."""
    inner = (..., slice(margin, -margin), slice(margin, -margin))
    return float((found - velocity)[inner].square().mean().sqrt() / velocity[inner].square().mean().sqrt())


def holed(images: Tensor) -> Tensor:
    """Holes of several kinds: clouds that stay, clouds that come and go, one pixel that is infinite."""
    images = images.clone()
    images[:, :, 10:15, 4:20] = torch.nan
    images[:, 1, 18:30, 12:24] = torch.nan
    images[:, -1, 25:29, 3:7] = torch.nan
    images[:, 0, 3, 3] = torch.inf
    return images


# ---- known motions


MOTIONS = {
    "translation": (vector(4.0, -2.5), STILL),
    "rotation": (vector(0.0, 0.0), ROTATION),
    "deformation": (vector(2.0, 1.0), DEFORMATION),
}


@pytest.mark.parametrize("name", MOTIONS)
def test_a_known_motion_is_recovered_to_a_hundredth_on_the_grid_itself(name: str) -> None:
    """1 to 3 cells in a frame, structures of 5 to 20 cells, 8 cells away from the edges."""
    images, velocity = moving(GRID, TIMES, *MOTIONS[name])
    results = TO_THE_GRID.analyse(images, TIMES, GRID)
    assert error(motion(results), velocity) < 0.01
    assert results["status"].tolist() == [1]
    assert torch.equal(motion(results, 0), motion(results, 3))  # a steady motion is the same at all steps


@pytest.mark.parametrize(("name", "gate"), [("translation", 0.015), ("rotation", 0.02), ("deformation", 0.04)])
def test_by_default_the_motion_is_found_on_blocks_of_two_cells_and_nearly_as_well(name: str, gate: float) -> None:
    images, velocity = moving(GRID, TIMES, *MOTIONS[name])
    results = ImageMotion().analyse(images, TIMES, GRID)
    assert error(motion(results), velocity) < gate


def test_neither_holes_nor_a_missing_frame_nor_uneven_times_make_it_worse() -> None:
    uneven = (0.0, 200.0, 700.0, 900.0)
    images, velocity = moving(GRID, uneven, vector(4.0, -2.5))
    assert error(motion(TO_THE_GRID.analyse(images, uneven, GRID)), velocity) < 0.01
    images, velocity = moving(GRID, TIMES, vector(4.0, -2.5))
    for missing in (0, 1, 2, 3):
        seen = holed(images)
        seen[:, missing] = torch.nan
        results = TO_THE_GRID.analyse(seen, TIMES, GRID)
        assert error(motion(results), velocity) < 0.015
        assert results["status"].tolist() == [1]


def test_cells_that_are_not_square_are_metres_all_the_same() -> None:
    grid = Grid((80, 48), (700.0, 1400.0))
    images, velocity = moving(grid, TIMES, vector(5.0, -2.0), unit=2e3)
    assert error(motion(TO_THE_GRID.analyse(images, TIMES, grid)), velocity) < 0.015
    turned = TO_THE_GRID.analyse(images.mT.contiguous(), TIMES, Grid((48, 80), (1400.0, 700.0)))
    assert error(motion(turned).flip(1), velocity.mT) < 0.015


def test_a_uniform_metric_is_the_spacing_and_one_that_varies_gives_local_metres() -> None:
    images, velocity = moving(SMALL, TIMES, vector(4.0, -2.5))
    expected = motion(TO_THE_GRID.analyse(images, TIMES, SMALL))
    even = torch.full((2, *SMALL.shape), 1e3, dtype=torch.float64)
    found = motion(TO_THE_GRID.analyse(images, TIMES, replace(SMALL, metric=even)))
    assert (found - expected).abs().max() < 1e-10
    # The same images on a map whose columns draw together, as towards a pole: there the same cells are fewer metres.
    wide = 1 + 0.2 * torch.linspace(1, -1, 64, dtype=torch.float64)[:, None].expand(GRID.shape)
    images, velocity = moving(GRID, TIMES, vector(4.0, -2.5))
    polar = replace(GRID, metric=1e3 * torch.stack((torch.ones_like(wide), wide)))
    local = velocity * torch.stack((wide, torch.ones_like(wide)))
    found = motion(TO_THE_GRID.analyse(images, TIMES, polar))
    assert error(found, local) < 0.015
    assert error(found, velocity) > 0.05


# ---- what must not change it


@pytest.mark.parametrize("transient", [None, RAIN])
def test_units_do_not_matter(transient: Transient | None) -> None:
    images, _ = moving(SMALL, TIMES, vector(4.0, -2.5))
    images = holed(images + 0.2 * random(images.shape, 1))
    problem = ImageMotion(transient=transient)
    one = problem.analyse(images, TIMES, SMALL)
    for factor, offset in ((1024.0, 0.0), (1e-3, 0.0), (7.0, 0.0)):
        other = problem.analyse(factor * images + offset, TIMES, SMALL)
        assert (motion(other) - motion(one)).abs().max() < 1e-6
        assert (other["cost"] / one["cost"] - 1).abs().max() < 1e-6
        assert torch.allclose(other["image_scale"], factor * one["image_scale"], rtol=1e-12)
        assert torch.allclose(other["analysis"], factor * one["analysis"] + offset, equal_nan=True, atol=factor * 1e-6)
        if transient is not None:
            assert (other["growth"] - one["growth"]).abs().max() < 1e-6  # over the deviation, whatever its units


@pytest.mark.parametrize("axis", [-1, -2])
def test_flips(axis: int) -> None:
    sign = (vector(-1, 1) if axis == -1 else vector(1, -1)).view(1, 2, 1, 1)
    images, velocity = moving(SMALL, TIMES, vector(4.0, -2.5), DEFORMATION)
    one = motion(ImageMotion().analyse(images, TIMES, SMALL))
    other = motion(ImageMotion().analyse(images.flip(axis), TIMES, SMALL)).flip(axis) * sign
    assert (other - one).norm() < 2e-2 * one.norm()
    # Where no parcel comes near another cell J is smooth, and its minimum is found to the last digit of J, eight of x.
    images, velocity = moving(SMALL, TIMES, vector(1.2, -1.6), unit=3e3)
    problem = ImageMotion(levels=(1,), ages=1, steady=Smoothness(2500.0, 25000.0), minimizer=CONVERGED)
    one = motion(problem.analyse(images, TIMES, SMALL))
    other = motion(problem.analyse(images.flip(axis), TIMES, SMALL)).flip(axis) * sign
    assert (one * FRAME / 1e3).abs().max() < 1
    assert (one * FRAME / 1e3).abs().min() > 0
    assert (other - one).abs().max() < 1e-8 * velocity.abs().max()


def many_windows(dtype: torch.dtype) -> Tensor:
    """Windows as a record has them: complete, with holes, with frames that are missing, flat, empty."""
    speeds = ((3.0, 1.0), (-2.0, 2.0), (1.0, -3.0), (2.0, 2.0), (0.0, 1.0), (1.0, 1.0), (2.0, -1.0), (-1.0, -1.0))
    frames = torch.cat([moving(SMALL, TIMES, vector(*speed))[0] for speed in speeds]) + 0.1 * random(
        (8, 4, *SMALL.shape), 2
    )
    frames[1, :3, 5:20, 5:20] = torch.nan
    frames[2, :, 10:14, 3:30] = torch.nan
    frames[2, 1] = torch.nan
    frames[3, 3, 0:3] = torch.nan
    frames[3, 2] = torch.nan
    frames[4] = 1.0
    frames[5, 3] = torch.nan
    frames[6, :3] = torch.nan
    frames[7] = torch.nan
    return frames.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("transient", [None, RAIN])
def test_a_window_alone_and_in_a_batch_has_the_same_bits(transient: Transient | None, dtype: torch.dtype) -> None:
    frames, problem = many_windows(dtype), ImageMotion(transient=transient)
    together = problem.analyse(frames, TIMES, SMALL)
    for window in range(len(frames)):
        alone = problem.analyse(frames[window : window + 1], TIMES, SMALL)
        assert list(alone) == list(together)
        for name in alone:
            assert torch.equal(alone[name][0].nan_to_num(-99), together[name][window].nan_to_num(-99)), (window, name)
    assert together["status"].tolist() == [1, 1, 1, 1, 3, 1, 3, 3]


def test_precision() -> None:
    images, velocity = moving(SMALL, TIMES, vector(4.0, -2.5))
    double, single = (TO_THE_GRID.analyse(images.to(dtype), TIMES, SMALL) for dtype in (torch.float64, torch.float32))
    assert single["u"].dtype == torch.float32
    assert (motion(single) - motion(double)).abs().max() < 1e-2 * velocity.abs().max()
    assert (single["cost"][:, 0] / double["cost"][:, 0] - 1).abs().max() < 1e-6  # at the background there is no path


def test_a_root_is_compared_where_this_is_asked_for() -> None:
    images = (moving(SMALL, TIMES, vector(4.0, -2.5))[0] + 6).clamp_min(0)
    plain = ImageMotion(transient=RAIN).analyse(images, TIMES, SMALL)
    root = ImageMotion(transient=RAIN, transform="square_root").analyse(images.square(), TIMES, SMALL)
    for name in ("u", "v", "growth", "cost"):
        assert torch.allclose(root[name], plain[name], atol=1e-9)
    assert torch.allclose(root["analysis"], plain["analysis"].square())
    assert torch.allclose(root["image_scale"], plain["image_scale"].square())
    below = ImageMotion(transform="square_root").analyse(images - 5, TIMES, SMALL)  # no rain is less than none
    dry = ImageMotion(transform="square_root").analyse((images - 5).clamp_min(0), TIMES, SMALL)
    assert torch.equal(below["u"], dry["u"])
    assert below["analysis"].min() >= 0


# ---- which images tell what


def test_an_image_that_is_too_old_has_no_say_and_one_that_is_compared_has() -> None:
    images, _ = moving(SMALL, TIMES, vector(4.0, -2.5))

    def moved(ages: int, frame: int) -> float:
        other = images.clone()
        other[:, frame] = images[:, frame].flip(-1)  # another image of the same deviation
        problem = ImageMotion(ages=ages)
        return float(
            (motion(problem.analyse(other, TIMES, SMALL)) - motion(problem.analyse(images, TIMES, SMALL))).abs().max()
        )

    assert moved(1, 0) < 1e-8
    assert moved(1, 1) < 1e-8
    assert moved(2, 0) < 1e-8
    for ages, frame in ((1, 2), (2, 1), (3, 0)):
        assert moved(ages, frame) > 1e-2


def test_what_the_newest_pair_tells_beyond_the_others_is_the_transient_motion() -> None:
    """The motion doubles before the last frame: steady and transient motion share it, each by its prior."""
    speed, seconds = vector(3.0, 0.0), (0.0, FRAME, 2 * FRAME, 4 * FRAME)
    images, _ = moving(GRID, seconds, speed)
    results = ImageMotion(transient=RAIN).analyse(images, TIMES, GRID)
    steady = torch.stack((results["u_steady"], results["v_steady"]), dim=1)
    assert torch.equal(motion(results) - steady, torch.stack((results["u_transient"], results["v_transient"]), dim=1))
    inner = (..., slice(12, -12), slice(12, -12))
    mean_steady, mean_transient = float(steady[:, 0][inner].mean()), float(results["u_transient"][inner].mean())
    assert 3.0 < mean_steady < 6.0
    assert mean_transient > 0.5
    # in the last interval they come together to what it shows, 6 m/s on average
    assert mean_steady + mean_transient * decay_integral(1, 1) == pytest.approx(6.0, rel=0.05)
    # at earlier steps the transient motion has not yet come
    at = [motion(results, step)[:, 0][inner].mean() - mean_steady for step in range(4)]
    for step in range(4):
        assert float(at[step]) == pytest.approx(mean_transient * math.exp(-(3 - step)), rel=1e-6)


@dataclass(frozen=True)
class Counting(LBFGS):
    """Keeps how each minimisation ended."""

    ends: list[Minimum] = field(default_factory=list)

    def __call__(self, *arguments: Any) -> Minimum:
        self.ends.append(super().__call__(*arguments))
        return self.ends[-1]


@pytest.mark.parametrize("transient", [None, RAIN])
def test_evaluations_of_all_loops_and_levels_are_counted_and_no_iterate_raises_the_cost(
    transient: Transient | None,
) -> None:
    minimizer = Counting(max_evaluations=30, gtol=1e-3, ftol=2e-3, history_size=8)
    frames = many_windows(torch.float64)[[0, 3]]
    for window in (0, 1):
        minimizer.ends.clear()
        problem = ImageMotion(transient=transient, minimizer=minimizer)
        results = problem.analyse(frames[window : window + 1], TIMES, SMALL)
        levels = len(fitting(problem.levels, SMALL)) + (0 if transient is None else 2)
        assert len(minimizer.ends) == levels
        assert int(results["evaluations"]) == sum(int(end.evaluations) for end in minimizer.ends)
        for end in minimizer.ends:
            assert all(after <= before for before, after in zip(end.history, end.history[1:], strict=False))
        assert 0 < results["cost"][0, 1] < results["cost"][0, 0]
        assert torch.allclose(results["cost"], results["cost_background"] + results["cost_observation"])
        assert results["cost_background"][0, 0] == 0
        assert results["gradient_norm"] == minimizer.ends[-1].gradient_norm


def test_observations_are_the_finite_pixels_of_the_frames_that_are_compared() -> None:
    frames = many_windows(torch.float64)[:6]
    for ages in (1, 2, 3):
        counted = ImageMotion(ages=ages).analyse(frames, TIMES, SMALL)["number_of_observations"].tolist()
        expected = []
        for window in frames:
            kept = [frame for frame in window if frame.isfinite().any()]
            expected.append(sum(int(frame.isfinite().sum()) for frame in kept[-1 - ages : -1]))
        assert counted == expected


@pytest.mark.parametrize("transient", [None, RAIN])
def test_without_two_frames_there_is_rest(transient: Transient | None) -> None:
    frames = many_windows(torch.float64)[4:8]
    results = ImageMotion(transient=transient).analyse(frames, TIMES, SMALL)
    assert results["status"].tolist() == [3, 1, 3, 3]
    for name in ("u", "v", *(() if transient is None else ("u_steady", "v_steady", "u_transient", "growth"))):
        assert torch.equal(results[name][[0, 2, 3]], torch.zeros_like(results[name][[0, 2, 3]]))
    assert (results["analysis"][2] - frames[2, 3]).abs().max() < 1e-12  # the one image that there is
    assert results["analysis"][3].isnan().all()
    assert results["number_of_observations"].tolist()[2:] == [0, 0]
    assert torch.equal(results["observed"].nan_to_num(-9), frames[:, -1].nan_to_num(-9))


# ---- growth


def blob(grid: Grid, width: float = 8e3) -> Tensor:
    return (-0.5 * metres(grid).square().sum(0) / width**2).exp()


@pytest.mark.parametrize("sign", [1, -1])
def test_a_growing_blob_is_a_source_of_its_sign_and_size(sign: int) -> None:
    """Beside structures that tell the motion, something grows where nothing else does."""
    images, velocity = moving(GRID, TIMES, vector(2.0, -1.0))
    for index in range(4):
        images[:, index] += sign * 0.35 * index * blob(GRID)
    results = ImageMotion(transient=RAIN).analyse(images, TIMES, GRID)
    growth = results["growth"] * results["image_scale"][:, None, None]
    # A source that fades over 1.5 frames has to be greater at the end to make the same difference in a frame.
    expected = sign * 0.35 * blob(GRID) / decay_integral(1.0, RAIN.source_lifetime)
    near = blob(GRID) > 0.5
    assert 0.6 < float((growth[0] * expected)[near].sum() / expected[near].square().sum()) < 1.1
    assert float((growth[0] * expected).sum() / (growth[0].norm() * expected.norm())) > 0.8
    steady = motion(results) - torch.stack((results["u_transient"], results["v_transient"]), dim=1)
    assert error(steady, velocity) < 0.1


def test_without_growth_there_is_next_to_no_source() -> None:
    images, _ = moving(GRID, TIMES, vector(2.0, -1.0))
    growth = ImageMotion(transient=RAIN).analyse(images, TIMES, GRID)["growth"]
    assert growth[:, 8:-8, 8:-8].abs().max() < 0.05


def test_what_fades_has_faded_further_where_the_last_frame_is_missing() -> None:
    images, _ = moving(SMALL, TIMES[:3], vector(3.0, -1.0))
    images[:, 2] += 0.5 * blob(SMALL, 4e3)
    problem = ImageMotion(transient=RAIN)
    early = problem.analyse(images, TIMES[:3], SMALL)
    late = problem.analyse(torch.cat((images, torch.full_like(images[:, :1], torch.nan)), dim=1), TIMES, SMALL)
    assert (late["u_transient"] - early["u_transient"] * math.exp(-1)).abs().max() < 1e-10
    assert (late["growth"] - early["growth"] * math.exp(-1 / RAIN.source_lifetime)).abs().max() < 1e-10
    assert early["growth"].abs().max() > 0.05
    assert (motion(late, 2) - motion(early)).abs().max() < 1e-10


# ---- the analysis at all steps


def by_cells(values: Tensor, x: int, y: int) -> Tensor:
    """The field moved by whole cells; beyond its edges it is as at its edges."""
    rows = (torch.arange(values.shape[-2]) - y).clamp(0, values.shape[-2] - 1)
    columns = (torch.arange(values.shape[-1]) - x).clamp(0, values.shape[-1] - 1)
    return values[..., rows, :][..., columns]


def test_earlier_steps_are_the_last_image_carried_back_and_later_ones_on() -> None:
    grid, cells = Grid((20, 24), (500.0, 800.0)), (2, -1)
    steady = vector(cells[0] * 800 / FRAME, cells[1] * 500 / FRAME).view(1, 2, 1, 1).expand(1, 2, *grid.shape)
    images = random((1, 3, *grid.shape), 3)
    times = [0.0, FRAME, 2 * FRAME]
    found = carried(images, times, Motion(steady, 2 * FRAME), [*times, 3 * FRAME, 4 * FRAME], grid)
    for index in range(5):
        expected = by_cells(images[:, 2], (index - 2) * cells[0], (index - 2) * cells[1])
        # where it comes from beyond the edges the image goes on as it is at them
        assert (found[:, index] - expected).abs().max() < 1e-12
    assert torch.equal(found[:, 2], images[:, 2])


def test_the_transient_motion_carries_the_image_back_by_what_it_has_done() -> None:
    """2 cells in the last frame, and less by what has faded in the one before."""
    grid, lifetime = Grid((20, 40), (500.0, 500.0)), FRAME / math.log(2)
    share = decay_integral(FRAME, lifetime) / FRAME
    fast = vector(2 * 500 / FRAME / share, 0.0).view(1, 2, 1, 1).expand(1, 2, *grid.shape)
    moved = Motion(torch.zeros_like(fast), 2 * FRAME, fast, lifetime)
    image = (torch.arange(40, dtype=torch.float64) * 1.0).expand(1, 3, 20, 40).contiguous()
    found = carried(image, [0.0, FRAME, 2 * FRAME], moved, [0.0, FRAME, 2 * FRAME], grid)[..., 5:-5]
    assert (found[:, 1] - image[:, 1, :, 5:-5] - 2).abs().max() < 1e-12
    assert (found[:, 0] - image[:, 0, :, 5:-5] - 3).abs().max() < 1e-12  # half of it a frame earlier
    assert float(moved.between(FRAME, 2 * FRAME)[0, 0, 0, 0]) == pytest.approx(2 * 500 / FRAME)
    assert float(moved.at(FRAME)[0, 0, 0, 0]) == pytest.approx(float(fast[0, 0, 0, 0]) / 2)


def test_holes_of_the_last_image_are_filled_from_the_newest_image_that_saw_the_place() -> None:
    grid, cells = Grid((20, 24), (500.0, 800.0)), (2, -1)
    steady = vector(cells[0] * 800 / FRAME, cells[1] * 500 / FRAME).view(1, 2, 1, 1).expand(1, 2, *grid.shape)
    whole = random((1, 1, *grid.shape), 4)
    images = torch.cat([by_cells(whole, 2 * index, -index) + 100 * index for index in range(3)], dim=1)
    seen = images.clone()
    seen[:, 2, 8:12, 8:14] = torch.nan
    seen[:, 1, 10:12, 6:9] = torch.nan  # carried on: rows 9 to 10, columns 8 to 10
    filled = carried(seen, [0.0, FRAME, 2 * FRAME], Motion(steady, 2 * FRAME), [2 * FRAME], grid)[0, 0]
    hole, older = torch.zeros(grid.shape, dtype=torch.bool), torch.zeros(grid.shape, dtype=torch.bool)
    hole[8:12, 8:14] = True
    older[9:11, 8:11] = True
    beside = torch.zeros(grid.shape, dtype=torch.bool)
    beside[8:12, 7:12] = True  # by rounding, a neighbour may be looked at that is a hole itself
    age = (images[0, 2] - filled) / 100
    assert torch.equal(filled[~hole], images[0, 2][~hole])
    assert (age[older] - 2).abs().max() < 1e-11
    assert (age[hole & ~beside] - 1).abs().max() < 1e-11
    assert ((age - 1).abs().minimum((age - 2).abs())[hole]).max() < 1e-11
    never = seen.clone()
    never[:, 0, 11, 5] = torch.nan  # on the way of the pixel at row 9, column 9
    filled = carried(never, [0.0, FRAME, 2 * FRAME], Motion(steady, 2 * FRAME), [2 * FRAME], grid)[0, 0]
    assert filled.isnan().sum() >= 1
    assert filled[9, 9].isnan()
    assert filled.isnan().sum() <= 4  # and what is interpolated with it, by rounding


def test_the_analysis_is_the_last_image_where_it_is_seen() -> None:
    images, velocity = moving(SMALL, TIMES, vector(4.0, -2.5))
    images = holed(images)
    results = ImageMotion(transient=RAIN).analyse(images, TIMES, SMALL)
    known = images[:, -1].isfinite()
    assert torch.equal(results["analysis"][:, -1][known], images[:, -1][known])
    clear = moving(SMALL, TIMES, vector(4.0, -2.5))[0]
    hidden = (~known)[0].nonzero()
    filled = results["analysis"][0, -1][25:29, 3:7]  # a hole of the last frame alone
    assert len(hidden) > 16
    assert (filled - clear[0, -1, 25:29, 3:7]).square().mean().sqrt() < 0.2 * clear.std()
    earlier = (results["analysis"] - clear)[..., 12:-8, 8:-10]
    assert earlier[earlier.isfinite()].square().mean().sqrt() < 0.15 * clear.std()
    del velocity


# ---- small parts


def test_the_deviation_is_that_of_what_was_observed_in_each_window() -> None:
    values = 5 + 3 * random((3, 2, 6, 7), 5)
    values[1, 0, 2:4] = torch.nan
    values[2] = torch.nan
    found = deviation(values)
    for window in (0, 1):
        kept = values[window][values[window].isfinite()]
        assert float(found[window]) == pytest.approx(float(kept.std(correction=0)), rel=1e-12)
    assert float(found[2]) == 0
    assert found.shape == (3, 1, 1, 1)


@pytest.mark.parametrize(
    ("shape", "levels"),
    [((64, 64), (8, 4, 2)), ((63, 200), (4, 2)), ((31, 40), (2,)), ((15, 15), (1,)), ((3, 3), (1,))],
)
def test_levels_keep_eight_points_a_side(shape: tuple[int, int], levels: Sequence[int]) -> None:
    assert fitting((8, 4, 2), Grid(shape, (1.0, 1.0))) == levels


def test_waves_of_two_pixels_are_damped_and_holes_stay() -> None:
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(12.0), indexing="ij")
    chequered = (5 + (-1) ** (x + y))[None, None]
    assert (damp_shortest(chequered)[..., 1:-1, 1:-1] - 5).abs().max() < 1e-6
    # a linear field stays, but at the edges
    ramp = (2 * x - y)[None, None]
    assert (damp_shortest(ramp) - ramp)[..., 1:-1, 1:-1].abs().max() < 1e-5
    # weights are of observed values alone: a constant stays beside holes, and holes stay
    holed = torch.full_like(ramp, 3.0)
    holed[..., 2:5, 3:8] = torch.nan
    assert torch.equal(damp_shortest(holed).isnan(), holed.isnan())
    assert (damp_shortest(holed) - holed).nan_to_num().abs().max() < 1e-6
    # the response of a wave of n pixels along x is (1 + cos 2π/n) / 2
    wave = torch.cos(2 * torch.pi * x / 6)[None, None]
    assert (damp_shortest(wave) - 0.75 * wave)[..., 1:-1].abs().max() < 1e-6
