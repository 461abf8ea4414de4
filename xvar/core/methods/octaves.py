"""Octaves of wavelength of a field: shares of its waves, power, and values between octaves."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from xvar.core.covariance.transform import basis, shared_transform

ROUNDS = 2  # of the limit of power, before the one that enforces it


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
        squares = [(torch.arange(n, dtype=torch.float64) / (2 * n)) ** 2 for n in shape]
        wavenumber = (squares[0][:, None] + squares[1]).sqrt()
        octave = torch.log2((wavenumber * 2 * max(shape)).clamp_min(1))
        if shortest is not None:
            octave = octave.clamp_max(shortest)
        octave = (octave - (merged - 1)).clamp_min(0)
        self.lower = octave.floor().long().to(like.device)
        self.upper_share = (octave - octave.floor()).to(like)
        self.upper = self.lower + (self.upper_share > 0)
        self.number = int(self.upper.max()) + 1

    def shares(self) -> Tensor:
        """Return the share of each wave in each octave (octave, y, x)."""
        index = torch.arange(self.number, device=self.lower.device)[:, None, None]
        below = (self.lower == index).to(self.upper_share) * (1 - self.upper_share)
        return below + ((self.upper == index) & (self.upper_share > 0)).to(self.upper_share) * self.upper_share

    def sums(self, values: Tensor) -> Tensor:
        """Sum values of waves (..., y, x) in each octave (..., octave); the mean of the field is no wave."""
        flat = values.reshape(-1, values.shape[-2] * values.shape[-1]).clone()
        flat[:, 0] = 0
        result = flat.new_zeros(len(flat), self.number)
        result.index_add_(1, self.lower.flatten(), flat * (1 - self.upper_share).flatten())
        result.index_add_(1, self.upper.flatten(), flat * self.upper_share.flatten())
        return result.reshape(*values.shape[:-2], self.number)

    def at_waves(self, values: Tensor) -> Tensor:
        """Return values of octaves (..., octave) at each wave (..., y, x), between its octaves by its shares."""
        return torch.lerp(values[..., self.lower], values[..., self.upper], self.upper_share)

    def power(self, field: Tensor) -> Tensor:
        """Return the power of a field (window, 1, y, x) in each octave (window, octave)."""
        return self.sums(self.transform.forward(field).square())[:, 0]

    def limited(self, field: Tensor, allowed: Tensor) -> Tensor:
        r"""Return a field (window, 1, y, x) with no more than some power (window, octave); its mean stays.

        .. math:: P_k(a) = \sum_n s_{kn} a_n^2 \le P_k

        with a the cosine spectrum. An octave with too much power requires the gain :math:`g_k = \min(1, \sqrt{P_k /
        P_k(a)})`. In the first rounds a wave between two octaves takes the interpolated gain, which is smooth but
        exceeds the lesser of the two; in the last round it takes the lesser one, so that the limit holds in every
        octave, to rounding: :math:`\sum_n s_{kn} g_n^2 a_n^2 \le g_k^2 P_k(a)`.
        """
        spectrum = self.transform.forward(field)
        mean = spectrum[..., 0, 0].clone()
        for last in (*[False] * ROUNDS, True):
            power = self.sums(spectrum.square())[:, 0]
            gain = (allowed / power.clamp_min(torch.finfo(power.dtype).tiny)).sqrt().clamp_max(1)
            lesser = torch.minimum(gain[:, self.lower], gain[:, self.upper])
            spectrum = spectrum * (lesser if last else self.at_waves(gain))[:, None]
        spectrum[..., 0, 0] = mean
        return self.transform.inverse(spectrum)


class LongWaves:
    """The longest cosine waves of a grid (y, x), at most `modes` along each axis."""

    def __init__(self, shape: tuple[int, ...], modes: int, *, like: Tensor) -> None:
        self.modes = tuple(min(n, modes) for n in shape)
        self.rows, self.columns = (basis(n, "free")[:m].to(like) for n, m in zip(shape, self.modes, strict=True))

    def inverse(self, spectrum: Tensor) -> Tensor:
        """Transform waves (..., wave, wave) to points (..., y, x)."""
        return self.rows.T @ spectrum @ self.columns

    def smoothed(self, field: Tensor, length: float) -> Tensor:
        """Smooth a field (..., y, x) with a Gaussian of this length in cells."""
        return self.inverse(self.rows @ field @ self.columns.T * self.gaussian(length))

    def gaussian(self, length: float) -> Tensor:
        """Return the spectrum (wave, wave) of a Gaussian of this length in cells."""
        rows, columns = (
            torch.exp(-0.5 * (math.pi * length / matrix.shape[1] * torch.arange(len(matrix)).to(matrix)) ** 2)
            for matrix in (self.rows, self.columns)
        )
        return rows[:, None] * columns


@lru_cache(maxsize=64)
def gaussian_waves(shape: tuple[int, ...], length: float, dtype: torch.dtype, device: torch.device) -> LongWaves:
    """Return the waves that a Gaussian of this length in cells keeps with more than exp(-12.5) of their amplitude."""
    with torch.inference_mode(False):
        modes = math.ceil(5 * max(shape) / (math.pi * length)) + 1
        return LongWaves(shape, modes, like=torch.zeros((), dtype=dtype, device=device))
