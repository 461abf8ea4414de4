"""The forecast from an analysed motion: the last image carried along it, growing or decaying on its way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xvar.core.covariance import Transform as CosineTransform
from xvar.core.grid import Grid
from xvar.core.interpolate import sample
from xvar.core.methods.image_motion import Transform, backward, forward
from xvar.core.models.parcels import Parcels, compose_displacements, decay_integral

PATH_ITERATIONS = 2  # of the middle of a step
DRY = 1e-4  # of the deviation of the images
ROUNDS = 2  # of the limit of the power, before the one that holds it for certain


@dataclass(frozen=True)
class Nowcast:
    r"""Extrapolation of the last image.

    Every grid point takes the value of the parcel that reaches it. Its path is followed back through the motion, whose
    transient part fades, and the image is interpolated once for each lead time, bilinearly. On its way the value grows
    by the source, which fades too:

    .. math::

        I(x, T + t) = I(X, T) + s(X) \, \tau_s (1 - e^{-t / \tau_s}), \quad X = X_{-t}(x)

    where there is something to grow. Growth adds power at short wavelengths that later frames do not have: in each
    octave of wavelength the power is held to `sharpness` times that of the image carried without growth, less `fading`
    in a frame, see `PowerLimit`; afterwards what fell below zero, and what came to be where no rain arrives, is taken
    away. Where a path comes from outside the grid the last image stays.

    Parameters
    ----------
    transform : {"none", "square_root"}
        What grows, see `ImageMotion`.
    transient, source : float, optional
        Lifetimes of the transient motion and of the source, in frames; None where there are none.
    sharpness : float, optional
        How much power is left to the forecast; None where it is not held.
    fading : float
        What of that is lost in a frame.
    """

    transform: Transform
    transient: float | None = None
    source: float | None = None
    sharpness: float | None = 1.02
    fading: float = 0.002

    def extrapolate(
        self,
        last: Tensor,
        velocity: Tensor,
        transient: Tensor,
        growth: Tensor,
        scale: Tensor,
        leads: Sequence[float],
        frame: float,
        grid: Grid,
    ) -> tuple[Tensor, Tensor]:
        """Forecasts for all lead times.

        Parameters
        ----------
        last : Tensor (window, 1, y, x)
            The last image in the units of the variable; NaN where it is not known.
        velocity, transient : Tensor (window, 2, y, x)
            The motion at the time of the last image in m/s, and the part of it that fades.
        growth : Tensor (window, 1, y, x)
            In a frame, of the compared variable over its deviation.
        scale : Tensor (window,)
            The deviation, as a value of the variable.
        leads : sequence of float
            Seconds after the last image, ascending.
        frame : float
            Seconds between frames.
        grid : Grid

        Returns
        -------
        forecast : Tensor (window, lead, y, x)
        outside : Tensor of bool (window, lead, y, x)
            Where the path comes from outside the grid.
        """
        model = Parcels(iterations=PATH_ITERATIONS).bind(grid, dtype=last.dtype, device=last.device)
        limit = last.new_tensor([grid.shape[1] - 1, grid.shape[0] - 1]).view(1, 2, 1, 1)
        known = last.isfinite()
        image = torch.where(known, last, torch.zeros_like(last))
        compared = forward(self.transform, image)
        growing = growth * forward(self.transform, scale)[:, None, None, None]
        hold = None if self.source is None or self.sharpness is None else PowerLimit(grid.shape, like=last)
        forecasts, outsides, now, paths = [], [], 0.0, model.grid_points
        for lead in leads:
            parts = max(1, math.ceil((lead - now) / frame - 1e-6))
            ends = [now + (lead - now) * (part + 1) / parts for part in range(parts)]
            for begin, end in zip([now, *ends], ends, strict=False):
                motion = self._motion(velocity, transient, begin / frame, end / frame)
                # The last step of a path is the first when it is followed back.
                back = model.follow(motion, model.grid_points, begin - end)
                paths = compose_displacements(back, paths, model.grid_points)
            now = lead
            carried, seen = sample(torch.cat([image, known.to(image.dtype)], dim=1), paths).split(1, dim=1)
            if self.source is not None:
                arrived = sample(self._grown(compared, growing * decay_integral(lead / frame, self.source)), paths)
                held = arrived
                if hold is not None and self.sharpness is not None:
                    held = hold(arrived, carried, max(0.0, self.sharpness - self.fading * lead / frame))
                # What is taken from the waves lifts the troughs: where no rain arrives, but for the rounding of paths,
                # it would be drizzle.
                wet = (arrived > DRY * scale[:, None, None, None]) | (self.transform == "none")
                carried = torch.where(wet, held, torch.zeros_like(held))
            if self.transform == "square_root":
                carried = carried.clamp_min(0)
            outside = ((paths < 0) | (paths > limit)).any(1, keepdim=True)
            # Interpolated between known and unknown points a value is neither.
            carried = torch.where(seen > 1 - 1e-4, carried, torch.nan)
            forecasts.append(torch.where(outside, last, carried))
            outsides.append(outside)
        return torch.cat(forecasts, dim=1), torch.cat(outsides, dim=1)

    def _motion(self, velocity: Tensor, transient: Tensor, begin: float, end: float) -> Tensor:
        """The motion on average between two times, in frames after the last image."""
        if self.transient is None:
            return velocity
        left = (decay_integral(end, self.transient) - decay_integral(begin, self.transient)) / (end - begin)
        return torch.add(velocity, transient, alpha=left - 1)

    def _grown(self, compared: Tensor, growth: Tensor) -> Tensor:
        """The image with what has grown on it, in the units of the variable."""
        grown = compared + growth
        if self.transform == "square_root":  # rain grows where it rains
            grown = torch.where(compared > 0, grown.clamp_min(0), torch.zeros_like(grown))
        return backward(self.transform, grown)


class PowerLimit:
    r"""Holds the power of a field to that of another, by octave of wavelength.

    The power of a wave belongs to the two octaves nearest to it, by how near they are:

    .. math::

        P_k(a) = \sum_n s_{kn} a_n^2 \le r P_k(b), \quad \sum_k s_{kn} = 1

    with a and b the cosine spectra of the field and of the reference. An octave that has too much asks for the gain
    :math:`g_k = \min(1, \sqrt{r P_k(b) / P_k(a)})`. Waves between two octaves first take what lies between the gains
    of both, which changes little from wave to wave but leaves something to the one that asks for less; after two such
    rounds each takes the lesser of the two. Then the limit holds in every octave, to rounding:
    :math:`P_k = \sum_n s_{kn} g_n^2 a_n^2 \le g_k^2 P_k(a)`.

    Parameters
    ----------
    shape : tuple of int
        Of the grid (y, x).
    like : Tensor
        For dtype and device.
    """

    def __init__(self, shape: tuple[int, ...], *, like: Tensor) -> None:
        self.transform = CosineTransform(shape, "free", dtype=like.dtype, device=like.device)
        squares = [(torch.arange(n, dtype=torch.float64) / (2 * n)) ** 2 for n in shape]
        wavenumber = (squares[0][:, None] + squares[1]).sqrt()
        octave = torch.log2((wavenumber * 2 * max(shape)).clamp_min(1))
        self.lower = octave.floor().long().to(like.device)
        self.upper_share = (octave - octave.floor()).to(like)
        self.upper = self.lower + (self.upper_share > 0)
        self.number = int(self.lower.max()) + 2

    def _power(self, spectrum: Tensor) -> Tensor:
        """Power in each octave (window, octave), shared between the two nearest; the mean is no wave."""
        power = spectrum.square().flatten(1)
        power[:, 0] = 0
        result = power.new_zeros(len(power), self.number)
        result.index_add_(1, self.lower.flatten(), power * (1 - self.upper_share).flatten())
        return result.index_add_(1, self.upper.flatten(), power * self.upper_share.flatten())

    def __call__(self, field: Tensor, reference: Tensor, ratio: float) -> Tensor:
        """The field (window, 1, y, x) without what it has above `ratio` times the reference's power; its mean stays."""
        spectrum = self.transform.forward(field)
        mean, allowed = spectrum[..., 0, 0].clone(), ratio * self._power(self.transform.forward(reference))
        for last in (*[False] * ROUNDS, True):
            have = self._power(spectrum)
            gain = (allowed / have.clamp_min(torch.finfo(have.dtype).tiny)).sqrt().clamp_max(1)
            low, high = gain[:, self.lower], gain[:, self.upper]
            each = torch.minimum(low, high) if last else torch.lerp(low, high, self.upper_share)
            spectrum = spectrum * each[:, None]
        spectrum[..., 0, 0] = mean
        return self.transform.inverse(spectrum)
