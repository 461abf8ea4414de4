"""Errors of the last image at the times of earlier ones, from which those of a forecast are estimated."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from xvar.core.methods.octaves import Octaves, gaussian_waves

MERGED = 3  # the longest octaves that are one
SMOOTHING = 12.0  # cells, of the rain whose growth is measured
TAPER = 4.0  # cells, beside points that do not count
FLOOR = 1e-2  # of the mean rain: added to the rain whose growth is measured


def number_of_octaves(shape: Sequence[int]) -> int:
    """Return octaves of `octave_correlation` on a grid."""
    return max(1, max(shape).bit_length() - MERGED + 1)


@lru_cache(maxsize=8)
def ensemble_octaves(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Octaves:
    """Return the octaves of an ensemble: the longest are one, the last one has all waves below two cells."""
    with torch.inference_mode(False):
        like = torch.zeros((), dtype=dtype, device=device)
        return Octaves(shape, like=like, merged=MERGED, shortest=max(shape).bit_length() - 1)


def smoothed(field: Tensor, length: float) -> Tensor:
    """Return a field (..., y, x), which is not negative, under a Gaussian of so many cells."""
    waves = gaussian_waves(tuple(field.shape[-2:]), length, field.dtype, field.device)
    return waves.smoothed(field, length).clamp_min(0)


def is_inside(paths: Tensor, shape: Sequence[int]) -> Tensor:
    """Return whether positions (window, 2, y, x) are inside the grid (window, y, x)."""
    x, y = paths.unbind(1)
    return (x >= 0) & (x <= shape[1] - 1) & (y >= 0) & (y <= shape[0] - 1)


def _taper(valid: Tensor, like: Tensor) -> Tensor:
    """Return weights that fall to zero smoothly towards points (y, x) that are not valid."""
    if bool(valid.all()):
        return torch.ones_like(like[0])
    return (2 * smoothed(valid.to(like), TAPER) - 1).clamp_min(0) * valid


def past_errors(
    carried: Tensor,
    observed: Tensor,
    step_of_age: Mapping[int, int],
    inside: Mapping[int, Tensor],
    ages: int,
) -> dict[str, Tensor]:
    r"""Measure the errors of the last image at the times of earlier ones, to which it is carried back.

    .. math::

        \rho_k = \frac{\sum_n s_{kn} a_n b_n}{\sqrt{\sum_n s_{kn} a_n^2 \sum_n s_{kn} b_n^2}}, \qquad
        g^2 = \frac{\sum R \, \ln^2 (\bar b^2 / \bar a^2)}{\sum R}

    with a the carried image and b the observed one as roots of rain (window, step, y, x), their cosine spectra and
    shares in octaves, bars for rain smoothed over `SMOOTHING` cells, and R the mean rain of both. Unknown points, and
    points whose parcels are not `inside` the grid at the last image, do not count: the anomalies of both images are
    tapered to zero beside them.

    Return ``octave_correlation`` (window, age, octave) and ``growth_error`` (window, age) from an age of one frame
    before the last image; NaN for ages without a step, and if there is no rain.
    """
    octaves = ensemble_octaves(tuple(carried.shape[-2:]), carried.dtype, carried.device)
    correlation = carried.new_full((len(carried), ages, octaves.number), torch.nan)
    growth = carried.new_full((len(carried), ages), torch.nan)
    for window, (age, step) in itertools.product(range(len(carried)), step_of_age.items()):
        pair = torch.stack([carried[window, step], observed[window, step]])
        valid = pair.isfinite().all(0) & inside[step][window]
        rain = torch.where(valid, pair, torch.zeros_like(pair)).square()
        taper = _taper(valid, pair)
        means = (rain.sqrt() * taper).sum((-2, -1)) / taper.sum()
        ours, seen = spectra = octaves.transform.forward((rain.sqrt() - means[:, None, None]) * taper)
        power = octaves.sums(spectra.square())
        correlation[window, age - 1] = octaves.sums(ours * seen) / power.prod(0).sqrt()
        ours, seen = smoothed(rain, SMOOTHING) + FLOOR * rain.mean()
        weight = rain.sum(0)
        growth[window, age - 1] = ((weight * (seen / ours).log().square()).sum() / weight.sum()).sqrt()
    return {"octave_correlation": correlation, "growth_error": growth}
