"""Forecast from an analysed motion: the last image along its paths, with growth and decay."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xvar.core.covariance.transform import shared_transform
from xvar.core.grid import Grid
from xvar.core.interpolate import sample
from xvar.core.methods.image_problems import Transform, backward, forward
from xvar.core.methods.octaves import Octaves, ShortWaves
from xvar.core.models.parcels import Parcels, compose_displacements, decay_integral

PATH_ITERATIONS = 2  # of the midpoint of a step
RETURN = 2.5  # lifetimes after which the displacement by the transient motion is largest
#: Explained misfits of rain below which its motion has no skill, and above which it counts in full.
SKILLS = (0.24, 0.34)
#: Share of the power of short waves of the last image that a forecast of rain has, and its decrease in a frame.
RESTORED = (0.88, 0.03)
DRY = 1e-4  # of the standard deviation of the images
#: Of `Nowcast.damping` in the forecast of least error, in m/s: 24 km in 30 minutes.
MEAN_DAMPING = 24e3 / 1800
LIGHT = 0.5  # of the standard deviation of the images: less undamped rain is dry surroundings for the damped one
SPREAD_TIME = 1800.0  # seconds after which damped rain counts in full there, at first half


@dataclass(frozen=True)
class Extrapolation:
    """The last image at all lead times, (window, lead, y, x) in the units of the variable."""

    forecast: Tensor
    outside: Tensor  # bool, true if the path begins outside the grid: the last image stays
    carried: Tensor | None = None  # the forecast without growth, 0 if unknown
    #: (window, lead, 2, y, x), position at the last image of the parcel at each point, in grid units
    paths: Tensor | None = None


@dataclass(frozen=True)
class Nowcast:
    r"""Extrapolation of the last image.

    Every grid point takes the value of the parcel that reaches it. Its path is followed back through the motion, and
    the image is interpolated bilinearly once for each lead time. On its path the value changes by the source, which
    decays:

    .. math::

        I(x, T + t) = I(X, T) + s(X) \, \tau_s (1 - e^{-t / \tau_s}), \quad X = X_{-t}(x), \quad
        \dot X = \frac{d}{dt} \bigl(t\, a(t)\bigr)\, w + \frac{d}{dt} \bigl(t\, e^{-t / 2.5 \tau_q}\bigr)\, q

    The steady motion w is the mean of the window, so that the displacement by the transient motion q about it returns
    to zero. That by the steady motion returns too if the observed images ask for it: the share e of their misfit that
    the motion explains, the `explained_misfit` of the ages of 1, 2 and 3 frames, is continued to the lead by the power
    law of its age that fits best and does not rise; the displacement counts in full while e is above the upper of the
    `skills`, and not at all below the lower,

    .. math:: a(t) = \min\Bigl(1, \max\Bigl(0, \frac{e(t) - e_0}{e_1 - e_0}\Bigr)\Bigr), \quad
        e(t) = e(1)\, \max(t, 1)^{-p}

    Rain grows only where it rains. Growth adds power at short wavelengths that later frames do not have: the power in
    each octave of wavelength is limited to `sharpness` times that of the image carried without growth, less `fading` in
    a frame, see `Octaves.limit`. Interpolation damps short waves: those of 2.8 to 5.7 cells are raised, by half of
    their power at most, until they have the share `restored` of that of the last image, see `ShortWaves`. Negative
    rain, and rain where none arrives, is then set to zero. If a path begins outside the grid, the last image stays.

    The forecast of least error has no such limit. Its waves are damped by how long they are predictable,

    .. math:: \hat I_n \leftarrow \hat I_n \, e^{-c \, k_n t}

    with k the wavenumber in cycles per metre and c the `damping`. That spreads rain over dry surroundings, most of
    which stay dry at first: where the undamped forecast is below half the deviation of the images, the damped one is
    multiplied by :math:`\min(1, \max(1/2, t / 30\,\mathrm{min}))`.
    """

    transform: Transform  #: Transform of the variable that grows, see `ImageMotion`.
    transient: float | None = None  #: Lifetime of the transient motion in frames; None without it.
    source: float | None = None  #: Lifetime of the source in frames; None without it.
    sharpness: float | None = 1.02  #: Limit of the power as a ratio; None without a limit.
    fading: float = 0.002  #: Decrease of that ratio in a frame.
    #: Share of the power of short waves of the last image, and its decrease in a frame; None: it is not restored.
    restored: tuple[float, float] | None = None
    damping: float | None = None  #: c in m/s; None without damping.
    #: Explained misfit below which the motion has no skill, and above which it counts in full; None: it does not fade.
    skills: tuple[float, float] | None = None

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
        skill: Tensor | None = None,
        *,
        with_paths: bool = False,
    ) -> Extrapolation:
        """Extrapolate the last image (window, 1, y, x), NaN if unknown, to ascending `leads` in seconds.

        `velocity` (window, 2, y, x) is the motion at the time of that image in m/s, `transient` the part of it that
        decays, `growth` (window, 1, y, x) the growth in a `frame` of seconds of the compared variable over its standard
        deviation `scale` (window,), `skill` (window, age) the `explained_misfit` of the motion, if known. The paths
        and what they carry, more than half of the memory, are returned on request alone.
        """
        limit = last.new_tensor([grid.shape[1] - 1, grid.shape[0] - 1]).view(1, 2, 1, 1)
        known = last.isfinite()
        image = torch.where(known, last, torch.zeros_like(last))
        compared = forward(self.transform, image)
        growing = growth * forward(self.transform, scale)[:, None, None, None]
        octaves = None if self.source is None or self.sharpness is None else Octaves(grid.shape, like=last)
        waves = None if self.restored is None else ShortWaves(image)

        def arriving(lead: float, paths: Tensor) -> tuple[Tensor, ...]:
            fields = [image, known.to(image.dtype)]
            if self.source is not None:
                fields.append(self._grown(compared, growing * decay_integral(lead / frame, self.source)))
            carried, seen, *grown = sample(torch.cat(fields, dim=1), paths).split(1, dim=1)
            value = carried
            if self.source is not None:
                (value,) = grown
            wet = value > DRY * scale[:, None, None, None]
            value = self._with_power(value, carried, lead / frame, octaves, waves)
            if self.transform == "square_root":
                # Changed waves lift the troughs: where no rain arrives, but for the rounding of paths, that would be
                # drizzle.
                value = torch.where(wet, value.clamp_min(0), torch.zeros_like(value))
            outside = ((paths < 0) | (paths > limit)).any(1, keepdim=True)
            # A value that is interpolated between known and unknown points is unknown.
            value = torch.where(outside, last, torch.where(seen > 1 - 1e-4, value, torch.nan))
            if self.damping is not None:
                value = self._spread(value, scale, self.damping, lead, grid)
            return (value, outside, carried.clone(), paths[:, None]) if with_paths else (value, outside)

        ahead = self._paths(velocity, transient, leads, frame, grid, skill)
        # In a function, so that nothing of a lead time takes memory during the next.
        results = [arriving(lead, paths) for lead, paths in zip(leads, ahead, strict=True)]
        return Extrapolation(*(torch.cat(parts, dim=1) for parts in zip(*results, strict=True)))

    def _with_power(
        self, value: Tensor, carried: Tensor, frames: float, octaves: Octaves | None, waves: ShortWaves | None
    ) -> Tensor:
        """Return a forecast whose power is limited in its octaves and restored in its short waves."""
        if octaves is None and waves is None:
            return value
        transform = shared_transform(tuple(value.shape[-2:]), "free", value.dtype, value.device)
        spectrum = transform.forward(value)
        if octaves is not None:
            octaves.limit(spectrum, self.power_ratio(frames) * octaves.power(carried))
        if waves is not None:
            waves.restore(spectrum, self.restored_share(frames))
        return transform.inverse(spectrum)

    def _spread(self, value: Tensor, scale: Tensor, damping: float, seconds: float, grid: Grid) -> Tensor:
        """Return a forecast with damped waves, and less of what spreads over dry surroundings."""
        light = value < LIGHT * scale[:, None, None, None]
        spread = damped(value, grid, damping, seconds)
        spread = torch.where(light, min(1.0, max(0.5, seconds / SPREAD_TIME)) * spread, spread)
        return spread.clamp_min(0) if self.transform == "square_root" else spread

    def power_ratio(self, frames: float) -> float:
        """Return power that is left to a forecast so many frames ahead, over that of the carried image."""
        assert self.sharpness is not None
        return max(0.0, self.sharpness - self.fading * frames)

    def restored_share(self, frames: float) -> float:
        """Return the least power of short waves so many frames ahead, over that of the last image."""
        assert self.restored is not None
        share, fading = self.restored
        return max(0.0, share - fading * frames)

    def _paths(
        self,
        velocity: Tensor,
        transient: Tensor,
        leads: Sequence[float],
        frame: float,
        grid: Grid,
        skill: Tensor | None,
    ) -> Iterator[Tensor]:
        """Return the positions of the parcels of the grid points at each lead at the last image (window, 2, y, x)."""
        model = Parcels(iterations=PATH_ITERATIONS).bind(grid, dtype=velocity.dtype, device=velocity.device)
        now, paths = 0.0, model.grid_points.expand(len(velocity), -1, -1, -1)
        for lead in leads:
            parts = max(1, math.ceil((lead - now) / frame - 1e-6))
            ends = [now + (lead - now) * (part + 1) / parts for part in range(parts)]
            for begin, end in zip([now, *ends], ends, strict=False):
                motion = self._motion(velocity, transient, begin / frame, end / frame, skill)
                # The last step of a path is the first one backward in time.
                back = model.follow(motion, model.grid_points, begin - end)
                paths = compose_displacements(back, paths, model.grid_points)
            now = lead
            yield paths

    def _motion(self, velocity: Tensor, transient: Tensor, begin: float, end: float, skill: Tensor | None) -> Tensor:
        """Return the mean motion between two times, in frames after the last image."""
        if self.transient is not None:
            left = (end * self.transient_share(end) - begin * self.transient_share(begin)) / (end - begin)
            velocity, transient = velocity - transient, left * transient
        else:
            transient = torch.zeros_like(transient)
        if self.skills is not None and skill is not None:
            velocity = velocity * (end * self._trust(skill, end) - begin * self._trust(skill, begin)) / (end - begin)
        return velocity + transient

    def transient_share(self, frames: float) -> float:
        """Return the mean of the transient motion over so many frames from the last image, over its value there."""
        return 0.0 if self.transient is None else math.exp(-frames / (RETURN * self.transient))

    def _trust(self, skill: Tensor, frames: float) -> Tensor:
        """Return the share of the steady displacement that counts so many frames ahead (window, 1, 1, 1)."""
        assert self.skills is not None
        lower, upper = self.skills
        known = skill.isfinite()
        logs = torch.where(known, skill, 1.0).clamp_min(1e-3).log()
        ages = torch.arange(1, skill.shape[1] + 1).to(skill).log().expand_as(skill)
        count = known.sum(1, keepdim=True).clamp_min(1)
        (mean, centre), weight = ((part * known).sum(1, keepdim=True) / count for part in (logs, ages)), known.to(skill)
        spread = (weight * (ages - centre).square()).sum(1, keepdim=True)
        slope = (weight * (ages - centre) * (logs - mean)).sum(1, keepdim=True) / spread.clamp_min(1e-6)
        ahead = (mean + slope.clamp_max(0) * (math.log(max(frames, 1.0)) - centre)).exp()
        share = ((ahead - lower) / (upper - lower)).clamp(0, 1)
        return torch.where(known.any(1, keepdim=True), share, 1.0)[:, :, None, None]

    def _grown(self, compared: Tensor, growth: Tensor) -> Tensor:
        """Return the image with its growth, in the units of the variable."""
        grown = compared + growth
        if self.transform == "square_root":  # rain grows where it rains
            grown = torch.where(compared > 0, grown.clamp_min(0), torch.zeros_like(grown))
        return backward(self.transform, grown)


def damped(field: Tensor, grid: Grid, speed: float, seconds: float) -> Tensor:
    """Return a field (window, 1, y, x) with the damping of `Nowcast`; NaN, which counts as zero, stays."""
    rows, columns = (
        torch.arange(n, dtype=torch.float64) / (2 * n * d) for n, d in zip(grid.shape, grid.spacing, strict=True)
    )
    rate = speed * torch.hypot(rows[:, None], columns)
    transform = shared_transform(grid.shape, "free", field.dtype, field.device)
    spectrum = transform.forward(torch.nan_to_num(field)) * torch.exp(-seconds * rate).to(field)
    return torch.where(field.isfinite(), transform.inverse(spectrum), field)
