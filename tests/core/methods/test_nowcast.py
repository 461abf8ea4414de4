from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.core.moving import metres
from tests.core.numerics import random, smooth
from xvar.core.grid import Grid
from xvar.core.methods.nowcast import DRY, Nowcast, damped
from xvar.core.methods.octaves import SHORT, Octaves, ShortWaves, wavenumbers
from xvar.core.models.parcels import decay_integral

FRAME = 256.0  # powers of two: whole cells are whole numbers to the bit
GRID = Grid((20, 26), (512.0, 1024.0))
LEADS = (FRAME, 2 * FRAME, 3 * FRAME)
STEADY = Nowcast("none")
FREE = 1e12  # a sharpness without effect


def cells(x: float, y: float, grid: Grid = GRID, windows: int = 1) -> Tensor:
    """A uniform motion of so many cells in a frame."""
    rate = torch.tensor([x * grid.spacing[1] / FRAME, y * grid.spacing[0] / FRAME], dtype=torch.float64)
    return rate.view(1, 2, 1, 1).expand(windows, 2, *grid.shape).clone()


def extrapolate(
    nowcast: Nowcast,
    last: Tensor,
    velocity: Tensor,
    transient: Tensor | None = None,
    growth: Tensor | None = None,
    scale: float = 1.0,
    leads: tuple[float, ...] = LEADS,
    grid: Grid = GRID,
    skill: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    transient = torch.zeros_like(velocity) if transient is None else transient
    growth = torch.zeros_like(last) if growth is None else growth
    result = nowcast.extrapolate(
        last, velocity, transient, growth, last.new_full((len(last),), scale), leads, FRAME, grid, skill
    )
    return result.forecast, result.outside


def came(x: int, y: int, shape: tuple[int, ...] = GRID.shape) -> tuple[Tensor, Tensor, Tensor]:
    """Row and column of origin of every point, moved by whole cells, and whether that is outside."""
    rows, columns = torch.arange(shape[0])[:, None] - y, torch.arange(shape[1])[None] - x
    outside = (rows < 0) | (rows >= shape[0]) | (columns < 0) | (columns >= shape[1])
    return rows.clamp(0, shape[0] - 1).expand(shape), columns.clamp(0, shape[1] - 1).expand(shape), outside


def moved(last: Tensor, x: int, y: int) -> tuple[Tensor, Tensor]:
    """The image moved by whole cells; outside it stays."""
    rows, columns, outside = came(x, y, tuple(last.shape[-2:]))
    return torch.where(outside, last, last[..., rows, columns]), outside


# ---- paths


@pytest.mark.parametrize(("x", "y"), [(2, -1), (-3, 2), (0, 1), (1, 0)])
def test_whole_cells_are_exact_inside_and_values_from_outside_are_the_last_image_and_flagged(x: int, y: int) -> None:
    last = random((2, 1, *GRID.shape), 1)
    forecast, outside = extrapolate(STEADY, last, cells(x, y, windows=2))
    for index in range(3):
        expected, flagged = moved(last, (index + 1) * x, (index + 1) * y)
        assert torch.equal(outside[:, index], flagged.expand(2, -1, -1))
        assert (forecast[:, index] - expected[:, 0]).abs().max() < 1e-12
        assert torch.equal(forecast[:, index][outside[:, index]], last[:, 0][outside[:, index]])
    assert 0 < outside.double().mean() < 0.6


def test_at_rest_nothing_changes_and_nothing_comes_from_outside() -> None:
    last = random((1, 1, *GRID.shape), 2)
    forecast, outside = extrapolate(STEADY, last, torch.zeros(1, 2, *GRID.shape).double())
    assert not outside.any()
    assert (forecast - last).abs().max() < 1e-13


def test_the_image_is_interpolated_once_however_far_it_goes() -> None:
    """Half a cell in a frame: after two frames it is a whole one, without any trace of the half."""
    last = random((1, 1, *GRID.shape), 3)
    forecast, outside = extrapolate(STEADY, last, cells(0.5, -0.5), leads=(FRAME, 2 * FRAME, 8 * FRAME))
    for index, whole in ((1, 1), (2, 4)):
        expected, flagged = moved(last, whole, -whole)
        inside = ~outside[0, index]
        assert (inside ^ ~flagged).double().mean() < 0.1  # the edge itself is inside or not by rounding
        assert (forecast[0, index] - expected[0, 0])[inside & ~flagged].abs().max() < 1e-12
    quarter = [last[0, 0][..., came(0, -up)[0], came(across, 0)[1]] for up in (0, 1) for across in (0, 1)]
    inside = ~(came(1, 0)[2] | came(0, -1)[2])
    assert (forecast[0, 0] - sum(quarter) / 4)[inside].abs().max() < 1e-12


@pytest.mark.parametrize("leads", [(FRAME,), (0.4 * FRAME, FRAME, 2.5 * FRAME), (2.5 * FRAME,), (7.3 * FRAME,)])
@pytest.mark.parametrize("lifetime", [None, 1.5])
def test_paths_are_the_integral_of_the_motion_at_any_lead(lifetime: float | None, leads: tuple[float, ...]) -> None:
    """On a slope the value is the origin of the path; the displacement by the transient part returns to zero."""
    slope = metres(GRID)[0] / GRID.spacing[1] + 100 * metres(GRID)[1] / GRID.spacing[0]
    total, fading = cells(0.3, -0.2), cells(0.5, 0.25)
    forecast, outside = extrapolate(replace(STEADY, transient=lifetime), slope[None, None], total, fading, leads=leads)
    for index, lead in enumerate(leads):
        frames = lead / FRAME
        left = frames if lifetime is None else frames * math.exp(-frames / (2.5 * lifetime))
        x = 0.3 * frames + 0.5 * (left - frames)  # without a lifetime nothing of the motion fades
        y = -0.2 * frames + 0.25 * (left - frames)
        if lifetime is None:
            x, y = 0.3 * frames, -0.2 * frames
        inside = ~outside[0, index]
        assert inside.double().mean() > 0.5
        assert (forecast[0, index] - (slope - x - 100 * y))[inside].abs().max() < 1e-9


def test_a_displacement_returns_as_the_misfit_that_it_explains_falls() -> None:
    """On a slope the value is the origin of the path: half the skill between the limits is half the displacement."""
    slope = metres(GRID)[0][None, None] / GRID.spacing[1]
    lost = torch.nan
    powers = [0.36 * age**-0.3 for age in (1.0, 2.0, 3.0)]
    shares = [min(1.0, (0.36 * lead**-0.3 - 0.2) / 0.2) for lead in (1.0, 2.0, 3.0)]
    cases = {
        (0.9, 0.8, 0.7): [1.0, 1.0, 1.0],
        (0.1, 0.1, 0.1): [0.0, 0.0, 0.0],
        (-3.0, 0.0, 0.1): [0.0, 0.0, 0.0],
        (0.3, 0.3, 0.3): [0.5, 0.5, 0.5],
        (lost, 0.3, lost): [0.5, 0.5, 0.5],
        (0.27, 0.3, 1 / 3): [0.5, 0.5, 0.5],  # a share that rises with age is its geometric mean
        (lost, lost, lost): [1.0, 1.0, 1.0],
        tuple(powers): shares,
    }
    skill = torch.tensor(list(cases), dtype=torch.float64)
    nowcast, windows = replace(STEADY, skills=(0.2, 0.4)), len(cases)
    forecast, outside = extrapolate(
        nowcast, slope.expand(windows, -1, -1, -1), cells(0.8, 0.0, windows=windows), skill=skill
    )
    for window, expected in enumerate(cases.values()):
        for lead in range(3):
            moved = (slope[0, 0] - forecast[window, lead])[~outside[window, lead]]
            assert (moved - 0.8 * (lead + 1) * expected[lead]).abs().max() < 1e-9
    same, _ = extrapolate(STEADY, slope, cells(0.8, 0.0))
    assert torch.equal(forecast[0], same[0])


def test_a_path_through_a_rotation_is_the_circle() -> None:
    """Steps are composed to second order."""
    grid = Grid((41, 41), (512.0, 512.0))
    place = metres(grid)
    image = place[0][None, None] / 512
    errors = []
    for share in (1.0, 0.5):
        rate = 0.3 * share / FRAME
        leads = (FRAME * 4 / share,)
        velocity = rate * torch.stack((-place[1], place[0]))[None]
        forecast, outside = extrapolate(STEADY, image, velocity, leads=leads, grid=grid)
        angle = -1.2
        expected = (math.cos(angle) * place[0] - math.sin(angle) * place[1]) / 512
        inner = ~outside[0, 0] & (place.square().sum(0).sqrt() < 16 * 512)
        errors.append(float((forecast[0, 0] - expected)[inner].abs().max()))
    assert errors[0] < 0.2
    assert errors[1] < errors[0] / 3.3


def test_a_uniform_metric_is_the_spacing() -> None:
    last = random((1, 1, *GRID.shape), 4)
    velocity = cells(1.3, -0.6) + 0.3 * smooth((1, 2, *GRID.shape), 5)
    metric = torch.tensor(GRID.spacing, dtype=torch.float64).view(2, 1, 1).expand(2, *GRID.shape)
    one, other = (extrapolate(STEADY, last, velocity, grid=grid) for grid in (GRID, replace(GRID, metric=metric)))
    assert torch.equal(one[1], other[1])
    assert (one[0] - other[0]).abs().max() < 1e-10


# ---- growth


def rain(windows: int = 1) -> Tensor:
    """Rain with dry land beside it."""
    return (2 * smooth((windows, 1, *GRID.shape), 6) - 0.3).clamp_min(0).square()


@pytest.mark.parametrize("sign", [1, -1])
def test_rain_grows_as_its_root_where_it_rains_and_is_never_negative(sign: int) -> None:
    nowcast = Nowcast("square_root", source=1.5, sharpness=FREE)
    last, growth = rain(), sign * (0.2 + 0.1 * smooth((1, 1, *GRID.shape), 7))
    forecast, _ = extrapolate(nowcast, last, torch.zeros(1, 2, *GRID.shape).double(), growth=growth, scale=0.49)
    dry = last[:, 0] == 0
    assert 0.1 < dry.double().mean() < 0.9
    for index in range(3):
        grown = (last.sqrt() + growth * 0.7 * decay_integral(index + 1, 1.5)).clamp_min(0).square()
        expected = torch.where(last > 0, grown, 0.0)[:, 0]
        assert (forecast[:, index] - expected).abs().max() < DRY * 0.49  # less is no rain
        assert (forecast[:, index] - expected)[expected > DRY * 0.49].abs().max() < 1e-9
        assert torch.equal(forecast[:, index][dry], torch.zeros_like(forecast[:, index][dry]))
    assert forecast.min() >= 0


def test_other_variables_grow_everywhere_and_below_zero_too() -> None:
    nowcast = Nowcast("none", source=2.0, sharpness=FREE)
    last, growth = smooth((2, 1, *GRID.shape), 8), smooth((2, 1, *GRID.shape), 9)
    forecast, _ = extrapolate(nowcast, last, torch.zeros(2, 2, *GRID.shape).double(), growth=growth, scale=3.0)
    for index in range(3):
        expected = last + 3 * growth * decay_integral(index + 1, 2.0)
        assert (forecast[:, index] - expected[:, 0]).abs().max() < 1e-9
    assert forecast.min() < 0


def test_the_source_stays_with_its_parcel() -> None:
    nowcast = Nowcast("none", source=2.0, sharpness=FREE)
    last, growth = random((1, 1, *GRID.shape), 10), random((1, 1, *GRID.shape), 11)
    forecast, _ = extrapolate(nowcast, last, cells(2, -1), growth=growth)
    for index in range(3):
        grown = last + growth * decay_integral(index + 1, 2.0)
        expected, flagged = moved(grown, 2 * (index + 1), -(index + 1))
        assert (forecast[:, index] - expected[:, 0])[:, ~flagged].abs().max() < 1e-9


@pytest.mark.parametrize("transform", ["none", "square_root"])
def test_power_without_a_limit_is_that_of_all_growth(transform: Any) -> None:
    last, growth = rain(2), 0.2 + 0.3 * random((2, 1, *GRID.shape), 19)
    one, other = (
        extrapolate(Nowcast(transform, source=2.0, sharpness=sharpness), last, cells(1, 1, windows=2), growth=growth)
        for sharpness in (None, FREE)
    )
    assert (one[0] - other[0]).abs().max() < 1e-9
    assert torch.equal(one[1], other[1])


def test_long_after_the_last_image_there_may_be_no_power_left() -> None:
    last, growth = 5 + random((1, 1, *GRID.shape), 13), random((1, 1, *GRID.shape), 12)
    nowcast = Nowcast("none", source=5.0, sharpness=0.5, fading=0.5)
    forecast, _ = extrapolate(nowcast, last, torch.zeros(1, 2, *GRID.shape).double(), growth=growth)
    assert (forecast[:, 1:] - forecast[:, 1:].mean((-2, -1), keepdim=True)).abs().max() < 1e-9


def test_without_a_lifetime_there_is_no_growth() -> None:
    last = rain()
    one, _ = extrapolate(Nowcast("square_root"), last, cells(1, 1), growth=torch.ones_like(last))
    other, _ = extrapolate(Nowcast("square_root"), last, cells(1, 1))
    assert torch.equal(one, other)


@pytest.mark.parametrize("sharpness", [1.02, 0.3])
def test_the_power_limit_spreads_no_drizzle_over_dry_land(sharpness: float) -> None:
    nowcast = Nowcast("square_root", source=1.5, sharpness=sharpness)
    last, growth = rain(2), 0.8 * random((2, 1, *GRID.shape), 12)
    forecast, outside = extrapolate(nowcast, last, cells(2, 1, windows=2), growth=growth, scale=1.0)
    assert forecast.min() >= 0
    for index in range(3):
        carried, flagged = moved(last, 2 * (index + 1), index + 1)
        dry = (carried[:, 0] == 0) & ~flagged
        assert dry.double().mean() > 0.05
        assert torch.equal(forecast[:, index][dry], torch.zeros_like(forecast[:, index][dry]))
    assert outside.any()


def test_damped_rain_over_dry_surroundings_is_half_at_first_and_all_after_half_an_hour() -> None:
    last, leads = rain(), (300.0, 1200.0, 2400.0)
    last = torch.where(last > DRY, last, torch.zeros_like(last))
    forecast, _ = extrapolate(
        Nowcast("square_root", sharpness=None, damping=1.0), last, torch.zeros(1, 2, *GRID.shape).double(), leads=leads
    )
    light = last < 0.5
    assert 0.2 < light.double().mean() < 0.9
    for index, share in enumerate((1 / 2, 2 / 3, 1)):
        expected = damped(last, GRID, 1.0, leads[index])
        expected = torch.where(light, share * expected, expected).clamp_min(0)
        assert (forecast[:, index] - expected[:, 0]).abs().max() < 1e-12


def test_power_is_limited_to_the_stated_ratio_and_fades_with_the_lead() -> None:
    """Growth of every wave by one factor is limited to the image itself, by the root of the ratio."""
    last = random((1, 1, *GRID.shape), 13)
    last = last - last.mean()
    nowcast = Nowcast("none", source=5.0, sharpness=1.1, fading=0.1)
    forecast, _ = extrapolate(nowcast, last, torch.zeros(1, 2, *GRID.shape).double(), growth=0.4 * last)
    for index in range(3):
        share = 1.1 - 0.1 * (index + 1)
        assert (forecast[:, index] - math.sqrt(share) * last[:, 0]).abs().max() < 1e-9


# ---- unknown values


def test_unknown_values_are_carried_as_unknown() -> None:
    last = random((1, 1, *GRID.shape), 14)
    last[..., 6:9, 8:12] = torch.nan
    still, _ = extrapolate(STEADY, last, torch.zeros(1, 2, *GRID.shape).double())
    for index in range(3):
        assert torch.equal(still[0, index].isnan(), last[0, 0].isnan())  # no more, and no less
    forecast, outside = extrapolate(STEADY, last, cells(2, -1))
    for index in range(3):
        expected, flagged = moved(last, 2 * (index + 1), -(index + 1))
        assert torch.equal(forecast[0, index].isnan(), expected[0, 0].isnan())
        known = ~expected[0, 0].isnan()
        assert (forecast[0, index] - expected[0, 0])[known].abs().max() < 1e-12
        assert torch.equal(outside[0, index], flagged)
    half, _ = extrapolate(STEADY, last, cells(0.5, 0.5), leads=(FRAME,))
    whole = torch.zeros(GRID.shape, dtype=torch.bool)
    whole[6:10, 8:13] = True  # between known and unknown it is neither
    assert torch.equal(half[0, 0].isnan(), whole)


@pytest.mark.parametrize("transform", ["none", "square_root"])
def test_growth_keeps_unknown_values_unknown(transform: Any) -> None:
    last = rain()
    last[..., 6:9, 8:12] = torch.nan
    nowcast = Nowcast(transform, transient=1.0, source=1.5)
    forecast, _ = extrapolate(nowcast, last, cells(2, -1), growth=0.3 * random(last.shape, 15))
    for index in range(3):
        expected, _ = moved(last, 2 * (index + 1), -(index + 1))
        assert torch.equal(forecast[0, index].isnan(), expected[0, 0].isnan())
    unknown = torch.full_like(last, torch.nan)
    assert extrapolate(nowcast, unknown, cells(2, -1))[0].isnan().all()


# ---- batches


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "nowcast", [STEADY, Nowcast("square_root", transient=1.0, source=1.5), Nowcast("none", 1.0, 2.0)]
)
def test_a_window_alone_and_in_a_batch_has_the_same_bits(nowcast: Nowcast, dtype: torch.dtype) -> None:
    last = rain(4)
    last[1, :, 6:9, 8:12] = torch.nan
    last[2] = torch.nan
    last[3] = 0
    velocity, transient = cells(1.2, -0.7, windows=4) + smooth((4, 2, *GRID.shape), 16), smooth((4, 2, *GRID.shape), 17)
    growth, scale = 0.2 * random(last.shape, 18), torch.tensor([1.0, 0.5, 2.0, 3.0]).double()
    inputs = [values.to(dtype) for values in (last, velocity, transient, growth, scale)]
    together = nowcast.extrapolate(*inputs, LEADS, FRAME, GRID, with_paths=True)
    for window in range(4):
        own = (values[window : window + 1] for values in inputs)
        alone = nowcast.extrapolate(*own, LEADS, FRAME, GRID, with_paths=True)
        for one, among in zip(vars(alone).values(), vars(together).values(), strict=True):
            assert one.dtype == among.dtype
            assert torch.equal(one[0].nan_to_num(-9), among[window].nan_to_num(-9))
    assert together.forecast.dtype == dtype
    if nowcast.transform == "square_root":
        assert torch.equal(together.forecast[3], torch.zeros_like(together.forecast[3]))


@pytest.mark.parametrize("axis", [-1, -2])
def test_flips(axis: int) -> None:
    nowcast = Nowcast("square_root", transient=1.0, source=1.5)
    last, growth = rain(), 0.2 * random((1, 1, *GRID.shape), 18)
    velocity, transient = cells(1.2, -0.7) + smooth((1, 2, *GRID.shape), 16), smooth((1, 2, *GRID.shape), 17)
    sign = torch.tensor([-1, 1] if axis == -1 else [1, -1]).view(1, 2, 1, 1)
    one = extrapolate(nowcast, last, velocity, transient, growth)
    other = extrapolate(
        nowcast, last.flip(axis), sign * velocity.flip(axis), sign * transient.flip(axis), growth.flip(axis)
    )
    assert (one[0] - other[0].flip(axis)).abs().max() < 1e-10
    assert torch.equal(one[1], other[1].flip(axis))


# ---- the limit of the power


def made(shape: tuple[int, int] = (32, 40), dtype: torch.dtype = torch.float64) -> Octaves:
    return Octaves(shape, like=torch.zeros((), dtype=dtype))


def limited(field: Tensor, reference: Tensor, ratio: float) -> Tensor:
    octaves = made(tuple(field.shape[-2:]), field.dtype)
    spectrum = octaves.transform.forward(field)
    return octaves.transform.inverse(octaves.limit(spectrum, ratio * octaves.power(reference)))


def power(hold: Octaves, values: Tensor) -> Tensor:
    """By its definition: the power of a wave goes to the two nearest octaves, by how near they are."""
    spectrum = hold.transform.forward(values)[:, 0].square()
    result = torch.zeros(len(values), hold.number, dtype=torch.float64)
    ny, nx = spectrum.shape[1:]
    for row in range(ny):
        for column in range(nx):
            if row == column == 0:
                continue
            longest = 2 * max(ny, nx)
            octave = max(0.0, math.log2(math.hypot(row / (2 * ny), column / (2 * nx)) * longest))
            below = math.floor(octave)
            result[:, below] += (1 - (octave - below)) * spectrum[:, row, column]
            result[:, below + 1] += (octave - below) * spectrum[:, row, column]
    return result


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_great_ratio_limits_nothing(dtype: torch.dtype) -> None:
    field, reference = (random((3, 1, 32, 40), seed, dtype) for seed in (20, 21))
    precision = 1e-12 if dtype == torch.float64 else 1e-5
    assert (limited(field, reference, 1e6) - field).abs().max() < precision
    assert (limited(field, field, 1.0) - field).abs().max() < precision
    assert (limited(0.5 * field, field, 1.0) - 0.5 * field).abs().max() < precision  # it never adds


@pytest.mark.parametrize("mean", [0.0, 100.0])
def test_an_equal_excess_is_limited_to_the_ratio_in_every_octave(mean: float) -> None:
    reference = random((2, 1, 32, 40), 22)
    reference = reference - reference.mean((-2, -1), keepdim=True)
    hold = made()
    held = limited(1.7 * reference + mean, reference + mean, 1.02)
    assert (power(hold, held) / power(hold, reference) - 1.02)[:, :-1].abs().max() < 1e-10
    assert (held - mean - math.sqrt(1.02) * reference).abs().max() < 1e-11


SHAPES = st.tuples(st.integers(2, 24), st.integers(2, 24))


@given(
    shape=SHAPES,
    seed=st.integers(0, 2**31 - 1),
    steepness=st.tuples(st.floats(-4, 4), st.floats(-4, 4)),
    excess=st.floats(0.0, 30.0),
    ratio=st.floats(0.0, 3.0),
    dtype=st.sampled_from([torch.float64, torch.float32]),
)
@settings(max_examples=40, deadline=None)
def test_power_is_limited_in_every_octave_for_any_spectra(
    shape: tuple[int, int],
    seed: int,
    steepness: tuple[float, float],
    excess: float,
    ratio: float,
    dtype: torch.dtype,
) -> None:
    """Two spectra of any slope, the field's with waves that stand out: no octave is above its limit, none gains."""
    hold, numbers = made(shape, dtype), torch.Generator().manual_seed(seed)
    octave = (hold.lower + hold.upper_share).double()

    def drawn(slope: float) -> Tensor:
        waves = torch.randn(2, 1, *shape, generator=numbers, dtype=torch.float64)
        return hold.transform.inverse((waves * 2 ** (-slope * octave / 2)).to(dtype))

    reference, field = drawn(steepness[0]), drawn(steepness[1])
    loud = torch.rand(2, 1, *shape, generator=numbers) < 0.05
    spectrum = hold.transform.forward(field)
    field = hold.transform.inverse(torch.where(loud, spectrum * (1 + excess), spectrum))
    held = limited(field, reference, ratio)
    before, after, allowed = (power(hold, values) for values in (field, held, reference))
    rounding = (1e-11 if dtype == torch.float64 else 1e-4) * before.sum(1, keepdim=True)
    assert (after <= ratio * allowed + rounding).all()
    assert (after <= before + rounding).all()
    within = before <= ratio * allowed
    alone = within.clone()  # what neither has too much itself nor beside one that has stays as it is
    alone[:, 1:] &= within[:, :-1]
    alone[:, :-1] &= within[:, 1:]
    assert ((after - before).abs() <= rounding)[alone].all()
    mean = field.mean((-2, -1))
    assert ((held.mean((-2, -1)) - mean).abs() <= rounding.sqrt()).all()


def test_little_power_is_removed_beyond_the_excess() -> None:
    """If all octaves have a small excess, each keeps nearly its limit."""
    reference = 3 + random((4, 1, 32, 40), 23)
    field = reference + 0.3 * random((4, 1, 32, 40), 24) + 0.3 * smooth((4, 1, 32, 40), 25)
    hold = made()
    held = limited(field, reference, 1.02)
    before, after = (power(hold, values) / power(hold, reference) for values in (field, held))
    assert (after <= 1.02 + 1e-12).all()
    assert (before > 1.02).double().mean() > 0.5
    total = [float(power(hold, values).sum()) for values in (held, reference)]
    assert total[0] > 0.98 * total[1]
    assert (held.mean((-2, -1)) - field.mean((-2, -1))).abs().max() < 1e-12


def test_only_octaves_with_an_excess_are_limited() -> None:
    """One great wave: waves that are an octave or more away stay nearly the same."""
    hold, reference = made(), random((1, 1, 32, 40), 26)
    spectrum = hold.transform.forward(reference)
    high = spectrum.clone()
    high[..., 16, 0] *= 40  # a wavelength of 4 cells: octave log2(40 / 2)
    held = hold.transform.forward(limited(hold.transform.inverse(high), reference, 1.0))
    octave = hold.lower + hold.upper_share
    far = (octave - octave[16, 0]).abs() > 2
    assert far.double().mean() > 0.01
    excess = (held - spectrum)[0, 0][far].abs() / spectrum[0, 0][far].abs()
    assert excess.max() < 0.25
    assert held[0, 0, 16, 0].abs() < 0.7 * high[0, 0, 16, 0].abs()


def test_a_great_excess_is_limited_too() -> None:
    reference = 1e-6 * random((1, 1, 32, 40), 27)
    held = limited(random((1, 1, 32, 40), 28), reference, 1.0)
    assert (power(made(), held) <= power(made(), reference) * (1 + 1e-9)).all()
    assert (held - held.mean()).abs().max() > 0.1 * (reference - reference.mean()).abs().max()


def test_fields_without_power_are_allowed() -> None:
    empty = torch.zeros(2, 1, 32, 40, dtype=torch.float64)
    assert torch.equal(limited(empty, empty, 1.02), empty)
    assert limited(random((1, 1, 32, 40), 29), empty[:1], 1.0).isfinite().all()


# ---- short waves that interpolation damps


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("share", [0.7, 1.2])
def test_short_waves_are_raised_to_a_share_of_the_power_and_no_other_wave_changes(seed: int, share: float) -> None:
    shape = (48, 60)
    spectrum = random((2, 1, *shape), seed)
    waves = ShortWaves(made(shape).transform.inverse(spectrum))
    raised = waves.restore(spectrum.clone(), share)
    torch.testing.assert_close(waves.power(raised), max(1.0, share) * waves.power(spectrum))
    length = 1 / wavenumbers(shape)
    beyond = (length <= SHORT) | (length >= 2 * SHORT)
    assert 0.1 < beyond.double().mean() < 0.9
    assert torch.equal(raised[..., beyond], spectrum[..., beyond])
    change = (raised / spectrum)[0, 0]
    assert (change[~beyond] >= 1).all()
    if share > 1:  # most in the middle of the octave
        assert abs(float(length[change == change.max()][0]) / 4 - 1) < 0.02
    else:
        assert torch.equal(raised, spectrum)


def test_no_wave_is_raised_by_more_than_half_of_its_power() -> None:
    spectrum = random((1, 1, 48, 60), 4)
    waves = ShortWaves(made((48, 60)).transform.inverse(spectrum))
    ratio = (waves.restore(spectrum.clone(), 100.0) / spectrum).square()
    assert 1.49 < ratio.max() <= 1.5 + 1e-12
    empty = torch.zeros_like(spectrum)
    assert torch.equal(waves.restore(empty.clone(), 1.0), empty)


def test_power_that_half_a_cell_of_motion_takes_is_restored() -> None:
    """Bilinear interpolation in the middle of cells takes about half of the power of waves of four cells."""
    last = 10 + random((1, 1, *GRID.shape), 5)
    waves, transform = ShortWaves(last), made(GRID.shape).transform
    shares = []
    for restored in (None, (0.7, 0.1)):
        forecast, _ = extrapolate(Nowcast("none", restored=restored), last, cells(0.5, 0.5))
        powers = [waves.power(transform.forward(forecast[:, [lead]])) for lead in (0, 1)]
        shares.append([float(power / waves.whole) for power in powers])
    assert shares[0][0] < 0.55
    # Beside the edges the last image stays.
    assert shares[1] == pytest.approx([0.6, max(0.5, shares[0][1])], rel=0.06)
    at_rest = torch.zeros(1, 2, *GRID.shape).double()
    still, _ = extrapolate(Nowcast("none", restored=(1.0, 0.0)), last, at_rest)
    torch.testing.assert_close(still, last.expand_as(still))
