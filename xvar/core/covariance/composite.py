"""Covariances made of others: the sum of independent errors, and localised ensembles."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from xvar.core.covariance.base import Covariance, Diagonal, Penalty, Shape, Specification
from xvar.core.grid import Device, Grid
from xvar.core.linear_maps import conjugate_gradients
from xvar.errors import Fault, Faults, InputError

Operator = TypeVar("Operator", bound="CompositeCovariance")


class CompositeCovariance(Covariance):
    """A covariance made of parts (covariance, number of components), with the controls of all in one row (window, n).

    The inverse is iterative, in double precision, with :meth:`precondition` as its approximation.
    """

    #: Iterations of the inverse, at most.
    iterations: ClassVar[int] = 2000
    _of_windows = ("_parts", "_precise")

    def __init__(self, parts: Sequence[tuple[Covariance, int]], points: Shape) -> None:
        self._parts = tuple(part for part, _ in parts)
        self._shapes = [part.control_shape((1, components, *points))[1:] for part, components in parts]
        self._sizes = [math.prod(shape) for shape in self._shapes]
        self.dtype, self.device = self._parts[0].dtype, self._parts[0].device
        self._precise: CompositeCovariance | None = None

    def control_shape(self, shape: Shape) -> Shape:
        """Return (window, n)."""
        return shape[0], sum(self._sizes)

    def fields(self, control: Tensor) -> list[Tensor]:
        """Return the square root of each part times its own control."""
        controls = zip(self._parts, control.split(self._sizes, dim=1), self._shapes, strict=True)
        return [part.sqrt(own.reshape(len(control), *shape)) for part, own, shape in controls]

    @staticmethod
    def merge(controls: Iterable[Tensor]) -> Tensor:
        """Lay the controls of the parts one after the other."""
        return torch.cat([control.flatten(1) for control in controls], dim=1)

    def precondition(self, state: Tensor) -> Tensor:
        """Approximate `solve`."""
        return self._parts[0].solve(state)

    def solve(self, state: Tensor) -> Tensor:
        """Invert by conjugate gradients; NaN for a window for which they fail."""
        precise = self._precise or self
        return conjugate_gradients(precise.apply, state, precise.precondition, self.iterations)


def with_precise(make: Callable[[torch.dtype, Device], Operator], dtype: torch.dtype, device: Device) -> Operator:
    """Make a composite, and the same in double precision for its inverse."""
    operator = make(dtype, device)
    if dtype != torch.float64 and operator.device.type != "meta":
        operator._precise = make(torch.float64, device)
    return operator


class SumCovariance(CompositeCovariance):
    r""":math:`B = \sum_i f_i^2 B_i` on states (component, \*grid); the first term preconditions its inverse."""

    def __init__(self, parts: tuple[Covariance, ...], factors: tuple[float, ...], shape: Shape) -> None:
        super().__init__([(part, shape[0]) for part in parts], shape[1:])
        self._factors = factors

    def sqrt(self, control: Tensor) -> Tensor:
        r"""Return :math:`\sum_i f_i B_i^{1/2} v_i`."""
        first, *others = (factor * field for factor, field in zip(self._factors, self.fields(control), strict=True))
        return sum(others, first)

    def sqrt_transpose(self, state: Tensor) -> Tensor:
        """Return the adjoint of `sqrt`."""
        pairs = zip(self._parts, self._factors, strict=True)
        return self.merge(factor * part.sqrt_transpose(state) for part, factor in pairs)

    def precondition(self, state: Tensor) -> Tensor:
        """Invert the first term."""
        return self._parts[0].solve(state) / self._factors[0] ** 2

    def inverse_hessian(self, curvature: Tensor, shape: Shape) -> Tensor | None:
        """Approximate each term as if it were alone."""
        diagonals = []
        for part, factor, own in zip(self._parts, self._factors, self._shapes, strict=True):
            found = part.inverse_hessian(factor**2 * curvature, shape)
            like = torch.ones((), dtype=self.dtype, device=self.device) if found is None else found
            diagonals.append(like.expand(shape[0], *own))
        return self.merge(diagonals)


@dataclass(frozen=True, eq=False)
class Sum(Specification):
    r"""Independent errors that add up: :math:`B = \sum_i f_i^2 B_i`, for states of this many components."""

    parts: tuple[Specification, ...]
    factors: tuple[float, ...]
    components: int

    def bind(self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: Device = None) -> SumCovariance:
        """Return the operator on a grid."""

        def make(dtype: torch.dtype, device: Device) -> SumCovariance:
            bound = tuple(part.bind(grid, dtype=dtype, device=device) for part in self.parts)
            return SumCovariance(bound, self.factors, (self.components, *grid.shape))

        return with_precise(make, dtype, device)

    def penalties(self, grid: Grid) -> Mapping[str, Penalty]:
        """Return none. Raises InputError if a part has penalties: the norm of a sum is not the sum of the norms."""
        names = sorted({name for part in self.parts for name in part.penalties(grid)})
        if names:
            raise InputError(
                Fault(
                    f"a sum with a covariance whose penalty {', '.join(names)} has no square root",
                    "covariances without penalties",
                    'Tikhonov(..., divergence=0.0) or edges="periodic"',
                    code="sum-with-penalty",
                )
            )
        return {}


def grown(analysis: Specification | None, model: Specification, seconds: float, components: int) -> Specification:
    r"""Return B (None: no error) grown by the error of a model, Q per second, over T seconds: :math:`B + T\,Q`."""
    if analysis is None:
        return Sum((model,), (math.sqrt(seconds),), components)
    if isinstance(analysis, Diagonal) and isinstance(model, Diagonal):
        one, other = (torch.as_tensor(part.std, dtype=torch.float64) for part in (analysis, model))
        return Diagonal((one.square() + seconds * other.square()).sqrt())
    return Sum((analysis, model), (1.0, math.sqrt(seconds)), components)


class EnsembleCovariance(CompositeCovariance):
    r""":math:`B = a^2 \sum_k X_k C X_k + s^2 B_s` with :math:`X_k` the diagonal matrix of a deviation.

    The deviations (member, component, y, x) from the mean include the factor a over the root of the number of members
    less one. The control has a field for each member, common to all components, and that of the static part
    :math:`B_s`.
    """

    def __init__(
        self, deviations: Tensor, localisation: Covariance, static: Covariance | None, static_weight: float
    ) -> None:
        members, components, *points = deviations.shape
        parts = [(localisation, members)] if static is None else [(localisation, members), (static, components)]
        super().__init__(parts, tuple(points))
        self._deviations, self._weight = deviations, static_weight

    def sqrt(self, control: Tensor) -> Tensor:
        """Multiply each deviation by a smooth field of its own, and add the static part."""
        weights, *static = self.fields(control)
        state = torch.stack([(weights * part).sum(1) for part in self._deviations.unbind(1)], dim=1)
        return state + self._weight * static[0] if static else state

    def sqrt_transpose(self, state: Tensor) -> Tensor:
        """Return the adjoint of `sqrt`."""
        localisation, *static = self._parts
        parts = zip(self._deviations.unbind(1), state.unbind(1), strict=True)
        weights = sum((part * field[:, None] for part, field in parts), torch.zeros_like(state[:, :1]))
        controls = [
            localisation.sqrt_transpose(weights),
            *(self._weight * part.sqrt_transpose(state) for part in static),
        ]
        return self.merge(controls)

    def precondition(self, state: Tensor) -> Tensor:
        """Invert the static part, without one the variance of the ensemble."""
        if len(self._parts) > 1:
            return self._parts[1].solve(state) / self._weight**2
        variance = self._deviations.square().sum(0)
        return state / variance.clamp_min(1e-12 * float(variance.max()))


@dataclass(frozen=True, eq=False)
class Ensemble(Specification):
    r"""Variances and correlations of an ensemble, tapered with distance.

    .. math::

        B = w\, C \circ \frac{1}{N - 1} \sum_k (x_k - \bar x)(x_k - \bar x)^T + (1 - w)\, B_s, \qquad
        B^{1/2} v = \sqrt{\frac{w}{N - 1}} \sum_k (x_k - \bar x) \circ C^{1/2} v_k + \sqrt{1 - w}\, B_s^{1/2} v_s

    C tapers the sampling noise between distant points. It is the same for all components of the state and so keeps
    their balance in the ensemble, such as geostrophy. The control has a field for each member; a `truncation` of the
    localisation, whose fields are smooth, makes it smaller.

    Parameters
    ----------
    members : Tensor (member, component, y, x)
        Two states or more, in the order and the units of the component; `xvar.covariance.ensemble` reads them from a
        Dataset.
    localisation : specification
        C of unit standard deviation: `Matern` (1.0, length, ...) with the length of the taper; a smoothness of 8 is
        nearly Gaussian; or `GaspariCohn`, which vanishes beyond a distance and follows great circles.
    static : specification, optional
        :math:`B_s`, for what the ensemble does not span.
    weight : float
        w, the share of the ensemble. Default: 1, with a static part 0.5.

    References
    ----------
    Houtekamer, P. L., Mitchell, H. L. (2001) A sequential ensemble Kalman filter for atmospheric data assimilation,
    doi:10.1175/1520-0493(2001)129<0123:ASEKFF>2.0.CO;2.
    Lorenc, A. C. (2003) The potential of the ensemble Kalman filter for NWP: a comparison with 4D-Var,
    doi:10.1256/qj.02.132 (a control for each member).
    Hamill, T. M., Snyder, C. (2000) A hybrid ensemble Kalman filter - 3D variational analysis scheme,
    doi:10.1175/1520-0493(2000)128<2905:AHEKFV>2.0.CO;2.
    """

    members: Tensor
    localisation: Specification
    static: Specification | None = None
    weight: float | None = None

    def bind(self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: Device = None) -> EnsembleCovariance:
        """Return the operator on a grid; see `Specification.bind`."""
        weight = self.weight if self.weight is not None else (1.0 if self.static is None else 0.5)
        self._check(grid, weight)
        members = self.members.detach().to(torch.float64)
        deviations = (members - members.mean(0)) * math.sqrt(weight / (len(members) - 1))

        def make(dtype: torch.dtype, device: Device) -> EnsembleCovariance:
            return EnsembleCovariance(
                deviations.to(device=device, dtype=dtype),
                self.localisation.bind(grid, dtype=dtype, device=device),
                None if self.static is None else self.static.bind(grid, dtype=dtype, device=device),
                math.sqrt(1 - weight),
            )

        return with_precise(make, dtype, device)

    def _check(self, grid: Grid, weight: float) -> None:
        faults = Faults()
        shape = tuple(self.members.shape)
        if len(shape) != len(grid.shape) + 2 or shape[2:] != grid.shape or shape[0] < 2:
            faults.add(
                code="ensemble-shape",
                found=f"members of shape {shape}",
                expected=f"(member, component, *{grid.shape}) with two members or more",
                fix="xvar.covariance.ensemble(dataset, variables, localisation)",
            )
        if not bool(self.members.isfinite().all()):
            faults.add(
                code="ensemble-not-finite",
                found="members with values that are not finite",
                expected="complete states",
                fix="dataset.ffill(dim).bfill(dim) before xvar.covariance.ensemble",
            )
        if not 0 < weight <= 1 or (self.static is not None and weight == 1):
            faults.add(
                code="ensemble-weight",
                found=f"weight={weight}",
                expected="a share above 0 and up to 1, with a static part below 1",
                fix="weight=0.5",
            )
        faults.raise_if_any()
