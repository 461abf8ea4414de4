"""Ensemble of nowcasts of rain, with the errors of the past at each scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xvar.core.interpolate import sample
from xvar.core.methods.nowcast import Extrapolation, Nowcast
from xvar.core.methods.octaves import MERGED, LongWaves, Octaves, ensemble_octaves, gaussian_waves, smoothed

CORRELATION = (1e-3, 1 - 1e-5)  # lowest and highest whose logarithms are taken
GROWTH = 1e-3  # least logarithm
JITTER = 1e-6  # of the variance, for the Cholesky factor


@dataclass(frozen=True)
class Skill:
    r"""Predictability of octaves and growth of rain: power laws fitted to `past_errors` of a window.

    .. math:: \rho_k(t) = e^{-\alpha_k t^b}, \qquad g(t) = a t^c

    Times are in frames. One exponent b holds for all octaves; each correlation has the weight :math:`(\rho \ln
    \rho)^2`, the inverse variance of :math:`\ln(-\ln \rho)` for equal errors of :math:`\rho`.
    """

    rate: Tensor
    exponent: float
    growth: float
    growth_exponent: float

    @classmethod
    def fitted(cls, correlation: Tensor, growth: Tensor, ensemble: NowcastEnsemble) -> Skill:
        """Fit the laws to correlation (age, octave) and growth (age,) of `past_errors`; ages in frames, from one."""
        there = growth.isfinite() & correlation.isfinite().all(1)
        ages = torch.arange(1, len(growth) + 1).to(growth)
        if not bool(there.any()):  # no rain: nothing to perturb
            return cls(correlation.new_ones(correlation.shape[1]), 1.0, 0.0, 1.0)
        rho = correlation[there].clamp(*CORRELATION)
        levels, exponent = _power_law(ages[there], -rho.log(), (rho * rho.log()).square(), ensemble.exponents)
        known = growth[there].clamp_min(GROWTH)[:, None]
        grown, growth_exponent = _power_law(ages[there], known, torch.ones_like(known), ensemble.growth_exponents)
        exponent += ensemble.optimism
        return cls(levels, exponent, ensemble.growth_share * float(grown), growth_exponent)

    def correlation(self, frames: Tensor) -> Tensor:
        """ρ of each octave (..., octave) after times (...)."""
        return torch.exp(-self.rate * frames[..., None] ** self.exponent)

    def growth_error(self, frames: Tensor) -> Tensor:
        """Return the standard deviation of the logarithm of growth after times."""
        return self.growth * frames**self.growth_exponent


def _power_law(times: Tensor, values: Tensor, weights: Tensor, bounds: tuple[float, float]) -> tuple[Tensor, float]:
    """Return levels (series,) and common exponent of power laws through values (time, series), in their logarithms."""
    x, y, total = times.log()[:, None].expand_as(values), values.log(), weights.sum(0)
    x_mean, y_mean = (weights * x).sum(0) / total, (weights * y).sum(0) / total
    spread = float((weights * (x - x_mean).square()).sum())
    slope = float((weights * (x - x_mean) * (y - y_mean)).sum()) / spread if spread > 1e-12 else 1.0
    slope = min(max(slope, bounds[0]), bounds[1])
    return (y_mean - slope * x_mean).exp(), slope


@dataclass(frozen=True)
class NowcastEnsemble:
    r"""Members about a nowcast of rain.

    With F the root of the nowcast, C its cosine spectrum and ρ the expected correlation of its octaves with
    observations, see `Skill`, a member is

    .. math:: M = \mathrm{DCT}^{-1}(\rho\, C) + \sum_k s_k(x) N_k, \qquad
        E |\hat N_k|^2 \propto w_k P (1 - \rho^2)

    with w the shares of waves in octaves, P the radial spectrum of F, :math:`s_k^2` the square of the octave's part of
    F under a Gaussian of half its wavelength, and unit variance of :math:`N_k / \sqrt{1 - \rho^2}`. The noise moves
    with the rain: it is drawn at the points of the last image and sampled along the paths, and its covariance over lead
    times is :math:`\rho(|t - t'|) - \rho(t) \rho(t')`, that of a stationary process given its value at the last image.
    M takes the values of F by rank, which keeps rainless points and the distribution of rain; its square then grows by
    :math:`e^{g \eta - g^2 / 2}`, with η of unit variance, half in a field of `growth_length` cells and half in one
    number, held over lead times; `Octaves.limit` comes last.

    `optimism` is added to b: the motion was fitted to the images on which b is measured, the more so the older.
    `exponents` and `growth_exponents` bound b and c, `growth_share` is the share of the measured growth that counts,
    `growth_limit` bounds :math:`|g \eta|`.
    """

    members: int
    optimism: float = 0.25
    exponents: tuple[float, float] = (0.7, 1.4)
    growth_exponents: tuple[float, float] = (0.3, 1.4)
    growth_share: float = 0.9
    growth_length: float = 12.0
    growth_limit: float = 2.0

    def draw(
        self,
        extrapolation: Extrapolation,
        correlation: Tensor,
        growth: Tensor,
        leads: Sequence[float],
        frame: float,
        nowcast: Nowcast,
        seeds: Sequence[int],
    ) -> Tensor:
        """Draw the members (window, member, lead, y, x), with one seed for each window.

        `correlation` (window, age, octave) and `growth` (window, age) are of `past_errors`; the power limit is that of
        `nowcast`.
        """
        times = correlation.new_tensor([lead / frame for lead in leads])
        windows = []
        for index, seed in enumerate(seeds):
            # A copy has the same alignment in memory, and so the same bits, alone as in a batch.
            fields = (part[index].clone() for part in vars(extrapolation).values())
            skill = Skill.fitted(correlation[index], growth[index], self)
            windows.append(_Window(Extrapolation(*fields), skill, times, nowcast, self).draw(seed))
        return torch.stack(windows)


class _Window:
    """The ensemble of one window; the first dimension of its fields is the lead time."""

    def __init__(
        self, nowcast: Extrapolation, skill: Skill, times: Tensor, settings: Nowcast, ensemble: NowcastEnsemble
    ) -> None:
        self.ensemble, self.unknown = ensemble, ~nowcast.forecast.isfinite()
        rain = torch.nan_to_num(nowcast.forecast)
        self.shape = shape = tuple(rain.shape[-2:])
        self.octaves = octaves = ensemble_octaves(shape, rain.dtype, rain.device)
        limits = rain.new_tensor([shape[1] - 1, shape[0] - 1]).view(2, 1, 1)
        assert nowcast.paths is not None
        assert nowcast.carried is not None
        inside = nowcast.paths.abs()
        self.paths = limits - (limits - inside).abs()  # noise beyond the edges is mirrored
        self.factors = _noise_factors(skill, times)
        self.growth_error = skill.growth_error(times)[:, None, None]
        # The nowcast, and what its members share.
        root = rain.sqrt()
        self.sorted = [values[values > 0].sort(descending=True).values for values in rain.flatten(1)]
        spectrum = octaves.transform.forward(root[None])[0]
        ratio = octaves.at_waves(skill.correlation(times))
        ratio[:, 0, 0] = 1
        self.predictable = octaves.transform.inverse((ratio * spectrum)[None])[0]
        # Mean power of a wave by octave, at each wave between its octaves in the logarithm.
        mean = octaves.sums(spectrum.square()) / octaves.sums(torch.ones_like(rain[:1]))
        self.radial = octaves.at_waves(mean.clamp_min(torch.finfo(mean.dtype).tiny).log()).exp()
        self.parts = [
            self._part(octave, spectrum, ratio, share) for octave, share in enumerate(octaves.shares().to(rain))
        ]
        self.limit = Octaves(shape, like=rain)
        ratios = rain.new_tensor([settings.power_ratio(float(time)) for time in times])
        self.allowed = ratios[:, None] * self.limit.power(nowcast.carried[:, None])

    def _part(
        self, octave: int, spectrum: Tensor, ratio: Tensor, share: Tensor
    ) -> tuple[LongWaves | None, Tensor, Tensor]:
        """Return waves, amplitudes (lead, wave, wave) and local standard deviation (lead, y, x) of an octave."""
        points = math.prod(self.shape)
        share = share.clone()
        share[0, 0] = 0
        part = self.octaves.transform.inverse((share.sqrt() * spectrum)[None])[0]
        half = max(self.shape) / 2 ** (octave + MERGED - 1)
        deviation = smoothed(part.square(), half).sqrt()
        power = share * self.radial
        variance = power.flatten(1).sum(1)[:, None, None] / points
        tiny = torch.finfo(variance.dtype).tiny
        amplitude = (power * (1 - ratio.square()).clamp_min(0) / variance.clamp_min(tiny)).sqrt()
        modes = 2 ** (octave + MERGED) + 1
        if modes >= max(self.shape):
            return None, amplitude, deviation
        waves = LongWaves(self.shape, modes, like=amplitude)
        return waves, amplitude[:, : waves.modes[0], : waves.modes[1]].contiguous(), deviation

    def draw(self, seed: int) -> Tensor:
        """Return the members (member, lead, y, x)."""
        generator = torch.Generator().manual_seed(seed)
        return torch.stack([self._member(generator) for _ in range(self.ensemble.members)])

    def _member(self, generator: torch.Generator) -> Tensor:
        rain = self._ranked(self.predictable + self._noise(generator))
        spectrum = self.limit.transform.forward((rain * self._growth(generator))[:, None])
        grown = self.limit.transform.inverse(self.limit.limit(spectrum, self.allowed))[:, 0]
        grown = torch.where(rain > 0, grown.clamp_min(0), torch.zeros_like(grown))
        return torch.where(self.unknown, torch.nan, grown)

    def _noise(self, generator: torch.Generator) -> Tensor:
        """Return the noise of all octaves (lead, y, x), carried along the paths."""
        fields = []
        for (waves, amplitude, _), factor in zip(self.parts, self.factors, strict=True):
            white = _white(amplitude.shape, generator, amplitude)
            spectrum = (factor @ white.flatten(1)).view_as(amplitude) * amplitude
            transform = self.octaves.transform if waves is None else waves
            fields.append(transform.inverse(spectrum[:, None]))
        noise = torch.cat(fields, dim=1)
        carried = sample(noise, self.paths)
        # Interpolation damps short waves; their variance is restored.
        lost = noise.square().mean((-2, -1)) / carried.square().mean((-2, -1)).clamp_min(torch.finfo(noise.dtype).tiny)
        local = torch.stack([deviation for *_, deviation in self.parts], dim=1)
        return (local * carried * lost.sqrt()[..., None, None]).sum(1)

    def _ranked(self, field: Tensor) -> Tensor:
        """Return the rain of the nowcast (lead, y, x) in the order of a field."""
        result = torch.zeros_like(field).flatten(1)
        for row, order, values in zip(result, field.flatten(1), self.sorted, strict=True):
            row[order.topk(len(values)).indices] = values
        return result.view_as(field)

    def _growth(self, generator: torch.Generator) -> Tensor:
        """Return the factor of growth (lead, y, x), carried along the paths."""
        like, length = self.growth_error, self.ensemble.growth_length
        waves = gaussian_waves(self.shape, length, like.dtype, like.device)
        white = _white(waves.modes, generator, like)
        damped = waves.inverse(white * waves.gaussian(length))
        field = damped / damped.square().mean().sqrt()
        number = _white((1,), generator, like)
        exponent = self.growth_error * (
            sample(field[None, None].expand(len(like), -1, -1, -1), self.paths)[:, 0] + number
        )
        exponent = (exponent * math.sqrt(0.5)).clamp(-self.ensemble.growth_limit, self.ensemble.growth_limit)
        return torch.exp(exponent - 0.5 * self.growth_error.square())


def _white(shape: Sequence[int], generator: torch.Generator, like: Tensor) -> Tensor:
    """Return white noise, the same on every device."""
    return torch.randn(tuple(shape), generator=generator, dtype=like.dtype).to(like.device)


def _noise_factors(skill: Skill, times: Tensor) -> Tensor:
    """Return cholesky factors (octave, lead, lead) of the correlation of noise over lead times."""
    after = skill.correlation(times).double()
    between = skill.correlation((times[:, None] - times).abs()).double()
    covariance = (between - after[:, None] * after).permute(2, 0, 1)
    deviation = covariance.diagonal(dim1=-2, dim2=-1).clamp_min(torch.finfo(torch.float32).tiny).sqrt()
    correlation = covariance / (deviation[:, :, None] * deviation[:, None])
    factors: Tensor = torch.linalg.cholesky(correlation + JITTER * torch.eye(len(times)).to(correlation))
    return factors.to(times.dtype)
