"""Octaves of wavelength of a field: shares of its waves, power, and the errors of the past in each."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from xvar.core.covariance.transform import basis, shared_transform

ROUNDS = 2  # of the limit of power, before the one that enforces it
SHORT = 2 * math.sqrt(2)  # cells, the shortest of `ShortWaves`
#: Power that is added to these at most, as a share: interpolation leaves two thirds to waves of four cells on average.
RAISED = 0.5


class Octaves:
    r"""Octaves of wavelength on a grid (y, x), and the shares that cosine waves have in them.

    The octaves of a wave are the two whose wavelengths are nearest to its own, with shares that are linear in the
    logarithm of its wavenumber and sum to one: :math:`\sum_k s_{kn} = 1`. Octave k holds the wavelengths about :math:`2
    N / 2^k` cells, N the larger number of points along an axis. The longest `merged` octaves are one; `shortest` also
    holds all shorter ones. `lower`, `upper` and `upper_share` (y, x) are the octaves of each wave and the share of the
    upper one, `number` counts the octaves.
    """

    def __init__(self, shape: tuple[int, ...], *, like: Tensor, merged: int = 1, shortest: int | None = None) -> None:
        self.shape = tuple(shape)
        self.transform = shared_transform(self.shape, "free", like.dtype, like.device)
        octave = torch.log2((wavenumbers(shape) * 2 * max(shape)).clamp_min(1))
        if shortest is not None:
            octave = octave.clamp_max(shortest)
        octave = (octave - (merged - 1)).clamp_min(0)
        lower, share = octave.floor().int(), (octave - octave.floor()).to(like.dtype)
        self.number = int((lower + (share > 0)).max()) + 1
        self.lower, self.upper_share = lower.to(like.device), share.to(like.device)
        # Waves in the order of memory, in runs of one octave; the mean of the field is a run of its own.
        order = lower.flatten()
        changes = torch.cat([torch.ones_like(order[:1]), (order.diff() != 0).long()])
        changes[1:2] = 1
        begins = torch.nonzero(changes).flatten()
        self._runs = torch.cat([begins, begins.new_full((1,), len(order))]).diff().to(like.device)
        self._octave_of_run = order[begins].to(like.device)

    @property
    def upper(self) -> Tensor:
        """The octave of each wave above its `lower` one, of which it has a share; the same if it has none."""
        return self.lower + (self.upper_share > 0)

    def shares(self) -> Tensor:
        """Return the share of each wave in each octave (octave, y, x)."""
        index = torch.arange(self.number, device=self.lower.device)[:, None, None]
        below = (self.lower == index).to(self.upper_share) * (1 - self.upper_share)
        return below + ((self.upper == index) & (self.upper_share > 0)).to(self.upper_share) * self.upper_share

    def sums(self, values: Tensor) -> Tensor:
        """Sum values of waves (..., y, x) in each octave (..., octave); the mean of the field is no wave."""
        flat = values.reshape(-1, values.shape[-2] * values.shape[-1])
        runs = self._runs.expand(len(flat), -1).contiguous()
        whole, upper = (
            torch.segment_reduce(part.contiguous(), "sum", lengths=runs, axis=1, unsafe=True)
            for part in (flat, flat * self.upper_share.flatten())
        )
        whole[:, 0] = upper[:, 0] = 0
        result = flat.new_zeros(len(flat), self.number)
        result.index_add_(1, self._octave_of_run, whole - upper)
        result.index_add_(1, (self._octave_of_run + 1).clamp_max(self.number - 1), upper)
        return result.reshape(*values.shape[:-2], self.number)

    def at_waves(self, values: Tensor) -> Tensor:
        """Return values of octaves (..., octave) at each wave (..., y, x), between its octaves by its shares."""
        return torch.lerp(self._selected(values, self.lower), self._selected(values, self.upper), self.upper_share)

    def _selected(self, values: Tensor, octave: Tensor) -> Tensor:
        """Return values (..., octave) at an octave of each wave (..., y, x), several times faster than by indexing."""
        rows = values.reshape(-1, values.shape[-1])
        found = torch.stack([row.index_select(0, octave.flatten()) for row in rows])
        return found.reshape(*values.shape[:-1], *octave.shape)

    def power(self, field: Tensor) -> Tensor:
        """Return the power of a field (window, 1, y, x) in each octave (window, octave)."""
        return self.sums(self.transform.forward(field).square())[:, 0]

    def limit(self, spectrum: Tensor, allowed: Tensor) -> Tensor:
        r"""Limit the power of a cosine spectrum (window, 1, y, x) in place to some power (window, octave).

        .. math:: P_k(a) = \sum_n s_{kn} a_n^2 \le P_k

        with a the spectrum, whose mean stays. An octave with too much power requires the gain :math:`g_k = \min(1,
        \sqrt{P_k / P_k(a)})`. In the first rounds a wave between two octaves takes the interpolated gain, which is
        smooth but exceeds the lesser of the two; in the last round it takes the lesser one, so that the limit holds in
        every octave, to rounding: :math:`\sum_n s_{kn} g_n^2 a_n^2 \le g_k^2 P_k(a)`.
        """
        mean, upper = spectrum[..., 0, 0].clone(), self.upper
        for last in (*[False] * ROUNDS, True):
            power = self.sums(spectrum.square())[:, 0]
            gain = (allowed / power.clamp_min(torch.finfo(power.dtype).tiny)).sqrt().clamp_max(1)
            below, above = self._selected(gain, self.lower), self._selected(gain, upper)
            both = torch.minimum(below, above) if last else torch.lerp(below, above, self.upper_share)
            spectrum = spectrum.mul_(both[:, None])
        spectrum[..., 0, 0] = mean
        return spectrum


class ShortWaves:
    r"""Waves of `SHORT` to twice as many cells, which interpolation damps most, and their power in an image.

    Each has a weight, one in the middle of that octave and zero at its ends, and the power is :math:`P(a) = \sum_n w_n
    a_n^2` of a cosine spectrum a:

    .. math:: w_n = \sin^2 \bigl(\pi \log_2 (\lambda_n / \lambda_0)\bigr)
    """

    def __init__(self, image: Tensor) -> None:
        shape = tuple(image.shape[-2:])
        octave = -torch.log2((SHORT * wavenumbers(shape)).clamp(0.5, 1))
        self.weight = torch.sin(math.pi * octave).square().to(image)
        transform = shared_transform(shape, "free", image.dtype, image.device)
        self.whole = self.power(transform.forward(image))

    def power(self, spectrum: Tensor) -> Tensor:
        """Return the power of cosine spectra (window, 1, y, x) in these waves (window,)."""
        return (self.weight * spectrum.square()).sum((1, 2, 3))

    def restore(self, spectrum: Tensor, share: float) -> Tensor:
        r"""Raise waves of cosine spectra (window, 1, y, x) in place to a share of the power of the image.

        .. math:: a_n \leftarrow a_n \sqrt{1 + g w_n}, \quad
            g = \min\Bigl(g_1, \max\Bigl(0, \frac{P - P(a)}{\sum_n w_n^2 a_n^2}\Bigr)\Bigr)

        with :math:`g_1` of `RAISED`.
        """
        squares = self.weight * spectrum.square()
        lacking = share * self.whole - squares.sum((1, 2, 3))
        gain = lacking / (self.weight * squares).sum((1, 2, 3)).clamp_min(torch.finfo(spectrum.dtype).tiny)
        return spectrum.mul_((1 + gain.clamp(0, RAISED)[:, None, None, None] * self.weight).sqrt())


def wavenumbers(shape: Sequence[int]) -> Tensor:
    """Return the wavenumber of each cosine wave (y, x), in cycles per cell."""
    rows, columns = (torch.arange(n, dtype=torch.float64) / (2 * n) for n in shape)
    return torch.hypot(rows[:, None], columns)


class LongWaves:
    """The longest cosine waves of a grid (y, x), at most `modes` along each axis."""

    def __init__(self, shape: tuple[int, ...], modes: int, *, like: Tensor) -> None:
        self.modes = tuple(min(n, modes) for n in shape)
        self.rows, self.columns = (basis(n, "free", m).to(like) for n, m in zip(shape, self.modes, strict=True))

    def inverse(self, spectrum: Tensor) -> Tensor:
        """Transform waves (..., wave, wave) to points (..., y, x)."""
        return self.rows.T @ spectrum @ self.columns

    def gaussian(self, length: float) -> Tensor:
        """Return the spectrum (wave, wave) of a Gaussian of this length in cells."""
        shape = self.rows.shape[1], self.columns.shape[1]
        return gaussian(shape, self.modes, length, self.rows)


def gaussian(shape: Sequence[int], modes: Sequence[int], length: float, like: Tensor) -> Tensor:
    """Return the spectrum (wave, wave) of a Gaussian of this length in cells on a grid, its longest `modes`."""
    rows, columns = (
        torch.exp(-0.5 * (math.pi * length / n * torch.arange(m).to(like)) ** 2)
        for n, m in zip(shape, modes, strict=True)
    )
    return rows[:, None] * columns


@lru_cache(maxsize=64)
def gaussian_waves(shape: tuple[int, ...], length: float, dtype: torch.dtype, device: torch.device) -> LongWaves:
    """Return the waves that a Gaussian of this length in cells keeps with more than exp(-12.5) of their amplitude."""
    with torch.inference_mode(False):
        modes = math.ceil(5 * max(shape) / (math.pi * length)) + 1
        return LongWaves(shape, modes, like=torch.zeros((), dtype=dtype, device=device))


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
    shape = tuple(field.shape[-2:])
    # Shorter waves keep less than exp(-12.5) of their amplitude.
    transform = shared_transform(shape, "free", field.dtype, field.device, min(1.0, 5 / (math.pi * length)))
    spectrum = transform.forward(field) * gaussian(shape, transform.modes, length, field)
    return transform.inverse(spectrum).clamp_min(0)


def is_inside(paths: Tensor, shape: Sequence[int]) -> Tensor:
    """Return whether positions (window, 2, y, x) are inside the grid (window, y, x)."""
    x, y = paths.unbind(1)
    return (x == x.clamp(0, shape[1] - 1)) & (y == y.clamp(0, shape[0] - 1))


def _taper(known: Tensor) -> Tensor:
    """Return weights that fall to zero smoothly towards points (y, x) that are not known: zero, the others one."""
    if bool(known.min() == 1):
        return known
    return (2 * smoothed(known, TAPER)).sub_(1).clamp_min_(0).mul_(known)


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
        known = ((pair[0] + pair[1]) * 0).add_(1).nan_to_num_().mul_(inside[step][window])
        root = pair.nan_to_num_().mul_(known)
        taper = _taper(known)
        means = (root * taper).sum((-2, -1)) / taper.sum()
        ours, seen = octaves.transform.forward((root - means[:, None, None]).mul_(taper))
        *power, product = octaves.sums(torch.stack([ours.square(), seen.square(), ours * seen]))
        correlation[window, age - 1] = product / (power[0] * power[1]).sqrt()
        rain = root.square()
        ours, seen = smoothed(rain, SMOOTHING) + FLOOR * rain.mean()
        weight = rain.sum(0)
        growth[window, age - 1] = ((seen / ours).log_().square_().mul_(weight).sum() / weight.sum()).sqrt()
    return {"octave_correlation": correlation, "growth_error": growth}
