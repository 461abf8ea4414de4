"""Perturbations of an analysis that are distributed as its error."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xvar.core.cost import Cost
from xvar.core.digital_filter import DigitalFilter
from xvar.core.dynamics import State
from xvar.core.linear_maps import truncated_conjugate_gradients
from xvar.core.linearisation import Linearisation
from xvar.core.methods.octaves import gaussian_waves
from xvar.core.norm import Quadratic
from xvar.core.observation import Observation

SMOOTHING = 4.0  # cells, of the errors of images whose R is unknown


@dataclass(frozen=True)
class Sampling:
    r"""Number and precision of the draws of a `Posterior`.

    `solves` perturbations d make twice as many `members`, :math:`x_a \pm B^{1/2} d`; `keep` returns these too. Each
    solve ends at a residual of `tolerance` over the norm of z, or after so many `iterations`.
    """

    solves: int = 8
    keep: bool = False
    tolerance: float = 3e-3
    iterations: int = 200

    @property
    def members(self) -> int:
        """Number of members."""
        return 2 * self.solves


class Normals:
    """Standard normal numbers of each window, from a seed of its own: the same on every device and in any batch."""

    def __init__(self, seeds: Tensor, like: Tensor) -> None:
        self._streams, self._like = [torch.Generator().manual_seed(seed) for seed in seeds.tolist()], like

    def __call__(self, *shape: int) -> Tensor:
        """Return numbers (window, *shape)."""
        drawn = [torch.randn(shape, generator=stream, dtype=self._like.dtype) for stream in self._streams]
        return torch.stack(drawn).to(self._like.device)

    def field(self, shape: tuple[int, ...]) -> Tensor:
        """Return fields (window, 1, y, x) of unit variance under a Gaussian of `SMOOTHING` cells."""
        waves = gaussian_waves(shape, SMOOTHING, self._like.dtype, self._like.device)
        damping = waves.gaussian(SMOOTHING)
        variance = damping.square().sum() / math.prod(shape)
        return waves.inverse(self(*waves.modes) * damping)[:, None] / variance.sqrt()


class Posterior:
    r"""Draws of the error of an analysis, in its control.

    .. math:: (I + B^{T/2} G^T W G B^{1/2})\, d = z + B^{T/2} G^T e, \qquad z \sim N(0, I)

    with G the tangent linear of the residuals r over their standard deviations, and :math:`W = \rho''(r)`. If the norm
    is quadratic, :math:`e \sim N(0, I)`: with a linear model and the true B, Q and R, d has the covariance of the error
    of the analysis exactly [1]_. A robust norm is used if R is unknown: :math:`e = \rho'(r)\, \eta`, with η of unit
    variance, smooth over `SMOOTHING` cells and common to all images, so that errors of neighbouring pixels and of all
    images may be correlated (the sandwich estimator [2]_, [3]_). At points η is white.

    References
    ----------
    .. [1] Desroziers, Brousseau and Chapnik (2005), doi:10.1256/qj.04.151.
    .. [2] White (1980), doi:10.2307/1912934.
    .. [3] Conley (1999), doi:10.1016/S0304-4076(98)00084-0.
    """

    def __init__(self, cost: Cost, control: Tensor, sampling: Sampling) -> None:
        self._quadratic, self._sampling = Linearisation(cost, control, exact=True), sampling
        diagonal = cost.inverse_hessian()
        self._scale = control.new_ones(()) if diagonal is None else diagonal
        self.cost, self._control = cost, control
        self._sources = 1 + max((one.source for one in cost.problem.observations), default=0)
        self.signals: list[Tensor] = []  # of each draw, degrees of freedom for signal (window, source)

    def amplitude(self, normals: Normals) -> Tensor:
        r"""Return the amplitude a (window, 1) of z at which :math:`|v|^2 = a^2\, \mathrm{tr}\, HK`.

        The analysis v depends on the ratio of B to R alone, its error on their common scale too. Where R is unknown,
        residuals have the scale of e. A draw without e gives :math:`\mathrm{tr}\, HK = E\, z^T (z - d)`.
        """
        self.draw(normals, torch.zeros_like(self.cost.problem.like[:, :1]))
        return (self._control.square().sum(1) / self.signals.pop()[:, 0].clamp_min(1)).sqrt()[:, None]

    def draw(
        self, normals: Normals, field: Tensor | None, moved: Sequence[Tensor] = (), amplitude: Tensor | float = 1.0
    ) -> Tensor:
        """Draw d (window, n), with η in `field` (window, 1, y, x), and z of an `amplitude`.

        `moved` is the change of each residual by the errors of an outer loop before, of which e holds minus W times.
        """
        quadratic = self._quadratic
        prior = amplitude * normals(self._control.shape[1])
        noise = [_noise(observation, residual, normals, field) for observation, residual in quadratic.observations]
        # From z on only what is observed is left to be solved: an unobserved part has the error of the prior at once.
        for change in (quadratic.tangent(prior), moved):
            if change:
                noise = [e - part for e, part in zip(noise, quadratic.weighted(change), strict=True)]
        right = quadratic.adjoint(noise)
        size = (self._scale * right.square()).sum(1, keepdim=True)
        tolerance = self._sampling.tolerance**2 * prior.square().sum(1, keepdim=True) / size
        limit = tolerance, self._sampling.iterations
        solution = prior + truncated_conjugate_gradients(quadratic.product, right, self._scale.mul, *limit)[0]
        self.signals.append(self._signal(prior, solution) / amplitude**2)
        return solution

    def members(self, seeds: Tensor) -> Iterator[Tensor]:
        """Yield the controls of members, those of the analysis plus and minus each d."""
        normals, shape = Normals(seeds, self._control), self.cost.problem.grid.shape
        for _ in range(self._sampling.solves):
            error = self.draw(normals, normals.field(shape) if len(shape) == 2 else None)
            yield from (self._control + error, self._control - error)

    def increment(self, error: Tensor) -> State:
        """Return a perturbation of the initial state from that of the control."""
        return self.cost.space.increment(self.cost.space.fields(error))

    def _signal(self, prior: Tensor, error: Tensor) -> Tensor:
        r"""Estimate the degrees of freedom for signal :math:`\mathrm{tr}\, HK` by source, (window, source).

        :math:`E |G_s B^{1/2} d|^2` if all norms are quadratic; else of a single source :math:`E\, z^T (z - d)`, and of
        several NaN.
        """
        observations = [one for one, _ in self._quadratic.observations]
        found = error.new_zeros(len(error), self._sources)
        if not all(isinstance(one.norm, Quadratic) for one in observations):
            return found + ((prior * (prior - error)).sum(1, keepdim=True) if self._sources == 1 else torch.nan)
        for one, change in zip(observations, self._quadratic.tangent(error), strict=True):
            if isinstance(one, Observation):
                found[:, one.source] += change.square().flatten(1).sum(1)
        return found


def degrees_of_freedom(signals: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return the mean of estimates of the degrees of freedom for signal, and its standard error (window, source)."""
    draws = torch.stack(list(signals))
    error = (draws - draws.mean(0)).square().sum(0) / (len(draws) * (len(draws) - 1 or torch.nan))
    name = "degrees_of_freedom_for_signal"
    return {name: draws.mean(0), f"{name}_std": error.sqrt()}


def _noise(
    observation: Observation | DigitalFilter, residual: Tensor, normals: Normals, field: Tensor | None
) -> Tensor:
    """Return e of an observation or a penalty."""
    if isinstance(observation.norm, Quadratic):
        return normals(*residual.shape[1:])
    slope = observation.norm.weight(residual) * residual
    if field is None or residual.shape[-2:] != field.shape[-2:]:
        field = normals(*residual.shape[1:])
    return slope * field


def standard_errors(
    analysis: Mapping[str, Tensor], members: Iterable[Mapping[str, Tensor]], sampling: Sampling
) -> dict[str, Tensor]:
    r"""Return ``<name>_std``, the root mean square departure of members from the analysis, of each of its fields.

    The mean of members :math:`x_a \pm \delta` is the analysis: no degree of freedom is lost. If the members are kept,
    ``<name>_samples`` (window, member, ...) holds them.
    """
    total = {name: torch.zeros_like(values) for name, values in analysis.items()}
    kept: dict[str, list[Tensor]] = {name: [] for name in analysis}
    for member in members:
        for name, values in member.items():
            total[name] += (values - analysis[name]).square()
            if sampling.keep:
                kept[name].append(values)
    std = {f"{name}_std": (values / sampling.members).sqrt() for name, values in total.items()}
    return std | {f"{name}_samples": torch.stack(values, dim=1) for name, values in kept.items() if values}
