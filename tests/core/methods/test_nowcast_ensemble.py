"""Octaves, errors of the past, and the ensemble that is made of them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.core.numerics import random
from xvar.core.grid import Grid
from xvar.core.methods.nowcast import Extrapolation, Nowcast
from xvar.core.methods.nowcast_ensemble import NowcastEnsemble, Skill, _noise_factors, _Window
from xvar.core.methods.octaves import LongWaves, Octaves, ensemble_octaves, number_of_octaves, past_errors, smoothed

FRAME = 300.0
LEADS = (FRAME, 2 * FRAME, 3 * FRAME)
GRID = Grid((48, 64), (1000.0, 1000.0))
CPU = torch.device("cpu")
FREE = Nowcast("square_root", transient=1.0, source=1.5, sharpness=1e12)


def rain(seed: int = 6, windows: int = 1, shape: tuple[int, ...] = GRID.shape) -> Tensor:
    """Rain of many scales beside dry land, as a root (window, 1, y, x)."""
    octaves = Octaves(shape, like=torch.zeros((), dtype=torch.float64))
    waves = random((windows, 1, *shape), seed) * 2 ** (-1.2 * (octaves.lower + octaves.upper_share))
    field = octaves.transform.inverse(waves)
    return (field / field.std() + 0.3).clamp_min(0)


def nowcast(windows: int = 1, seed: int = 6, x: float = 1.5) -> Extrapolation:
    """A nowcast of rain that moves along x, so many cells in a frame, without growth."""
    last = rain(seed, windows).square()
    velocity = torch.zeros(windows, 2, *GRID.shape, dtype=torch.float64)
    velocity[:, 0] = x * GRID.spacing[1] / FRAME
    none = torch.zeros_like(velocity)
    scale = torch.ones(windows, dtype=torch.float64)
    return FREE.extrapolate(last, velocity, none, none[:, :1], scale, LEADS, FRAME, GRID, with_paths=True)


def measured(windows: int = 1) -> tuple[Tensor, Tensor]:
    """Errors of the past: short octaves are forgotten within a frame, long ones last."""
    number = number_of_octaves(GRID.shape)
    rate = 0.02 * 3.0 ** torch.arange(number, dtype=torch.float64)
    ages = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    correlation = torch.exp(-rate * ages[:, None])
    return correlation.expand(windows, -1, -1), (0.1 * ages).expand(windows, -1)


def draw(ensemble: NowcastEnsemble, result: Extrapolation, seeds: list[int], settings: Nowcast = FREE) -> Tensor:
    return ensemble.draw(result, *measured(len(seeds)), LEADS, FRAME, settings, seeds)


# ---- octaves


@pytest.mark.parametrize("shape", [(2, 2), (3, 8), (16, 16), (33, 20), (7, 300), (256, 256)])
def test_shares_of_a_wave_sum_to_one_in_the_octaves_that_there_are(shape) -> None:
    octaves = ensemble_octaves(shape, torch.float64, CPU)
    assert octaves.number == number_of_octaves(shape)
    shares = octaves.shares()
    assert (shares.sum(0) - 1).abs().max() < 1e-12
    values = random((2, *shape), 1)
    direct = (values.clone()[:, None] * shares).flatten(2)
    assert (octaves.sums(values) - (direct.sum(2) - direct[..., 0])).abs().max() < 1e-9
    levels = random((octaves.number,), 2)
    assert (octaves.at_waves(levels) - torch.einsum("kyx,k->yx", shares, levels)).abs().max() < 1e-12


@pytest.mark.parametrize("options", [{}, {"merged": 3, "shortest": 5}])
def test_sums_of_octaves_are_those_of_the_shares_without_the_mean(options: dict[str, int]) -> None:
    octaves = Octaves((33, 65), like=torch.zeros((), dtype=torch.float64), **options)
    values = torch.rand(2, 3, 33, 65, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shares = octaves.shares()
    shares[:, 0, 0] = 0
    torch.testing.assert_close(octaves.sums(values), torch.einsum("wfyx,kyx->wfk", values, shares))


def test_long_waves_are_those_of_the_whole_transform() -> None:
    spectrum = torch.zeros(1, 1, *GRID.shape, dtype=torch.float64)
    spectrum[..., :9, :9] = random((9, 9), 3)
    whole = Octaves(GRID.shape, like=spectrum).transform.inverse(spectrum)
    assert (LongWaves(GRID.shape, 9, like=spectrum).inverse(spectrum[..., :9, :9]) - whole).abs().max() < 1e-12


def test_smoothing_is_a_gaussian_with_mirrored_edges() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    field = rain()[0, 0].square()
    expected = ndimage.gaussian_filter(field.numpy(), 5.0, mode="reflect", truncate=8)
    assert (smoothed(field, 5.0) - torch.from_numpy(expected)).abs().max() < 2e-3 * field.max()


# ---- errors of the past


def errors(carried: Tensor, observed: Tensor, inside: Tensor | None = None) -> dict[str, Tensor]:
    """Errors at ages of one and three frames of steps 2 and 0."""
    inside = torch.ones(len(carried), *carried.shape[2:], dtype=torch.bool) if inside is None else inside
    return past_errors(carried, observed, {1: 2, 3: 0}, {2: inside, 0: inside}, 3)


def test_an_image_that_only_moved_has_no_errors() -> None:
    images = rain().expand(1, 3, -1, -1)
    found = errors(images, images)
    assert (found["octave_correlation"][:, [0, 2]] - 1).abs().max() < 1e-12
    assert found["growth_error"][:, [0, 2]].abs().max() < 1e-12
    assert found["octave_correlation"][:, 1].isnan().all()
    assert found["growth_error"][:, 1].isnan().all()


def test_rain_that_doubles_grows_by_ln_two_and_stays_correlated() -> None:
    images = rain().expand(1, 3, -1, -1)
    found = errors(images, math.sqrt(2) * images)
    assert (found["octave_correlation"][:, 0] - 1).abs().max() < 1e-12
    assert (found["growth_error"][:, 0] - math.log(2)).abs().max() < 0.02  # the floor takes the rest


def test_another_image_has_no_correlation() -> None:
    one, other = (rain(seed, shape=(128, 128)).expand(1, 3, -1, -1) for seed in (6, 7))
    found = errors(one, other)["octave_correlation"][:, 0]
    assert found[:, 2:].abs().max() < 0.15  # many waves


def test_points_from_outside_and_unknown_ones_do_not_count() -> None:
    images = rain().expand(1, 3, -1, -1)
    inside = torch.ones(1, *GRID.shape, dtype=torch.bool)
    inside[..., :20] = False
    wrong = torch.where(inside[:, None], images, 3 * rain(7))
    found = errors(wrong, images, inside)
    assert (found["octave_correlation"][:, 0] - 1).abs().max() < 1e-9
    assert found["growth_error"][:, 0].abs().max() < 1e-9
    holes = torch.where(inside[:, None], images, torch.nan)
    for pair in ((wrong, holes), (holes, wrong)):
        assert (errors(*pair)["octave_correlation"][:, 0] - 1).abs().max() < 1e-9


def test_without_rain_nothing_is_measured() -> None:
    dry = torch.zeros(1, 3, *GRID.shape, dtype=torch.float64)
    assert all(values.isnan().all() for values in errors(dry, dry).values())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_errors_of_a_window_are_the_same_alone_and_in_a_batch(dtype: torch.dtype) -> None:
    carried, observed = (rain(seed, windows=3).expand(3, 3, -1, -1).to(dtype) for seed in (8, 9))
    inside = torch.ones(3, *GRID.shape, dtype=torch.bool)
    inside[1, :5] = False
    together = errors(carried, observed, inside)
    for window in range(3):
        one = slice(window, window + 1)
        alone = errors(carried[one], observed[one], inside[one])
        for name, values in alone.items():
            assert torch.equal(values[0].nan_to_num(-9), together[name][window].nan_to_num(-9))


# ---- power laws


@pytest.mark.parametrize("ages", [[0, 1, 2], [0, 2], [0]])
def test_power_laws_are_found_from_the_ages_that_there_are(ages) -> None:
    number, frames = 4, torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    rate, exponent = torch.tensor([0.01, 0.1, 0.4, 1.0], dtype=torch.float64), 1.2
    correlation = torch.full((3, number), torch.nan, dtype=torch.float64)
    growth = torch.full((3,), torch.nan, dtype=torch.float64)
    correlation[ages] = torch.exp(-rate * frames[ages, None] ** exponent)
    growth[ages] = 0.2 * frames[ages] ** 0.8
    found = Skill.fitted(correlation, growth, NowcastEnsemble(2, optimism=0.0, growth_share=0.5))
    assert (found.rate - rate).abs().max() < 1e-9
    assert found.exponent == pytest.approx(exponent if len(ages) > 1 else 1.0)
    assert found.growth == pytest.approx(0.1)
    assert found.growth_exponent == pytest.approx(0.8 if len(ages) > 1 else 1.0)
    later = Skill.fitted(correlation, growth, NowcastEnsemble(2, optimism=0.25))
    assert later.exponent == pytest.approx(found.exponent + 0.25)


def test_the_noise_of_a_stationary_process_given_its_value_at_the_last_image() -> None:
    skill = Skill(torch.tensor([0.05, 0.7]), 1.3, 0.0, 1.0)
    times = torch.tensor([1.0, 2.0, 4.0])
    factors = _noise_factors(skill, times)
    after = skill.correlation(times)
    for octave in range(2):
        rho = after[:, octave]
        between = skill.correlation((times[:, None] - times).abs())[..., octave] - rho[:, None] * rho
        expected = between / (1 - rho[:, None] ** 2).sqrt() / (1 - rho**2).sqrt()
        assert (factors[octave] @ factors[octave].T - expected).abs().max() < 1e-4


# ---- members


def test_before_ranks_and_growth_the_power_of_members_is_that_of_the_nowcast() -> None:
    result, settings = nowcast(), NowcastEnsemble(2)
    fields = Extrapolation(*(part[0].clone() for part in vars(result).values()))
    skill = Skill.fitted(*(part[0] for part in measured()), settings)
    times = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    window = _Window(fields, skill, times, FREE, settings)
    generator, octaves = torch.Generator().manual_seed(0), window.octaves

    def power(field: Tensor) -> Tensor:
        return octaves.sums(octaves.transform.forward(field[None])[0].square())

    draws = torch.stack([power(window.predictable + window._noise(generator)) for _ in range(60)]).mean(0)
    ratio = draws / power(result.forecast[0].sqrt())
    assert (ratio[:, 1:] - 1).abs().max() < 0.1
    assert (ratio[:, 0] - 1).abs().max() < 0.25  # a few waves


def test_without_growth_members_have_the_rain_of_the_nowcast_at_other_points() -> None:
    result = nowcast()
    members = draw(NowcastEnsemble(3, growth_share=0.0), result, [1])
    for member in members[0]:
        assert (member.flatten(1).sort(-1).values - result.forecast[0].flatten(1).sort(-1).values).abs().max() < 1e-9
    assert members.min() >= 0
    assert not torch.equal(members[0, 0], members[0, 1])


def test_without_errors_in_the_past_members_are_the_nowcast() -> None:
    result = nowcast()
    perfect = torch.ones(1, 3, number_of_octaves(GRID.shape), dtype=torch.float64)
    none = torch.zeros(1, 3, dtype=torch.float64)
    members = NowcastEnsemble(2).draw(result, perfect, none, LEADS, FRAME, FREE, [1])
    difference = (members - result.forecast[:, None]).square().mean().sqrt()
    assert difference < 0.05 * result.forecast.std()


def test_spread_grows_with_lead_and_the_mean_stays_about_the_nowcast() -> None:
    result = nowcast()
    members = draw(NowcastEnsemble(30), result, [2])[0]
    spread = members.var(0).mean((-2, -1)).sqrt()
    assert (spread.diff() > 0).all()
    assert (members.mean((0, 2, 3)) / result.forecast[0].mean((-2, -1)) - 1).abs().max() < 0.1


def test_the_power_of_members_is_limited() -> None:
    limited = replace(FREE, sharpness=1.0, fading=0.0)
    result = nowcast()
    members, free = (draw(NowcastEnsemble(4, growth_share=5.0), result, [3], own)[0] for own in (limited, FREE))
    octaves = Octaves(GRID.shape, like=members)

    def power(field: Tensor) -> Tensor:
        return octaves.sums(octaves.transform.forward(field[None])[0].square())

    ratio, without = ((power(part).mean(0) / power(result.carried[0]))[:, :-1] for part in (members, free))
    assert ratio.max() < 1.3  # setting negative rain to zero adds a little
    assert without[2].max() > 2


def test_members_are_films_that_move_with_the_rain() -> None:
    """Deviations of successive leads, brought back along the motion, are alike; of another member they are not."""
    result = nowcast(x=2.0)
    members = draw(NowcastEnsemble(20, growth_share=0.0), result, [4])[0]
    deviation = members - members.mean(0)
    first, second = deviation[:, 0, :, 8:-8], deviation[:, 1, :, 10:-6]
    alike = (first * second).mean() / (first.square().mean() * second.square().mean()).sqrt()
    other = (first * second.roll(1, 0)).mean() / (first.square().mean() * second.square().mean()).sqrt()
    still = (first * deviation[:, 1, :, 8:-8]).mean() / (first.square().mean() * second.square().mean()).sqrt()
    assert alike > 0.35
    assert alike > 1.3 * still
    assert other.abs() < 0.1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_members_of_a_window_are_the_same_alone_and_in_a_batch(dtype: torch.dtype) -> None:
    result = nowcast(windows=3)
    result.forecast[1, :, 5:9, 5:9] = torch.nan
    result.forecast[2] = 0
    parts = {key: part if part.dtype == torch.bool else part.to(dtype) for key, part in vars(result).items()}
    correlation, growth = (part.to(dtype) for part in measured(3))
    seeds, settings = [5, 6, 7], NowcastEnsemble(2)
    together = settings.draw(Extrapolation(**parts), correlation, growth, LEADS, FRAME, FREE, seeds)
    assert together.dtype == dtype
    assert together.shape == (3, 2, 3, *GRID.shape)
    assert torch.equal(together[1].isnan(), result.forecast[1].isnan().expand(2, -1, -1, -1))
    assert torch.equal(together[2], torch.zeros_like(together[2]))
    for window in range(3):
        one = slice(window, window + 1)
        own = Extrapolation(**{key: part[one] for key, part in parts.items()})
        alone = settings.draw(own, correlation[one], growth[one], LEADS, FRAME, FREE, seeds[one])
        assert torch.equal(alone[0].nan_to_num(-9), together[window].nan_to_num(-9))


def test_a_window_whose_past_is_unknown_has_members_all_the_same() -> None:
    result = nowcast()
    unknown = torch.full((1, 3, number_of_octaves(GRID.shape)), torch.nan, dtype=torch.float64)
    members = NowcastEnsemble(2).draw(result, unknown, unknown[..., 0], LEADS, FRAME, FREE, [1])
    assert members.isfinite().all()
