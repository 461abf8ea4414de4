r"""Errors as an ensemble shows them, localised."""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from xvar.core.covariance.base import Covariance, Shape, Specification
from xvar.core.covariance.iterative import conjugate_gradients
from xvar.core.covariance.linear import linear
from xvar.core.grid import Grid
from xvar.errors import Faults


class EnsembleCovariance(Covariance):
    r""":math:`B = a^2 \sum_k X_k C X_k + s^2 B_s` with :math:`X_k` the diagonal matrix of a deviation.

    The control has a field for each member, the same for all components, and that of the static part. The inverse is
    iterative, in double precision.

    Parameters
    ----------
    deviations : Tensor (member, component, y, x)
        Members minus their mean, over the root of their number less one, times a.
    localisation : Covariance
        C, of one component.
    static : Covariance, optional
        :math:`B_s`.
    static_weight : float
        s.
    """

    def __init__(
        self, deviations: Tensor, localisation: Covariance, static: Covariance | None, static_weight: float
    ) -> None:
        self._deviations, self._localisation = deviations, localisation
        self._static, self._weight = static, static_weight
        members, components, *points = deviations.shape
        self._member_shape = localisation.control_shape((1, members, *points))[1:]
        self._static_shape = () if static is None else static.control_shape((1, components, *points))[1:]
        self._sizes = [math.prod(self._member_shape), 0 if static is None else math.prod(self._static_shape)]
        self.dtype, self.device = deviations.dtype, deviations.device
        self._precise: EnsembleCovariance | None = None

    def control_shape(self, shape: Shape) -> Shape:
        """One row of numbers for each window: those of the members, then those of the static part."""
        return shape[0], sum(self._sizes)

    def sqrt(self, control: Tensor) -> Tensor:
        """The members' deviations, each times a smooth field of its own, and the static part."""
        members, static = control.split(self._sizes, dim=1)
        weights = self._localisation.sqrt(members.reshape(len(control), *self._member_shape))
        state = torch.stack([(weights * part).sum(1) for part in self._deviations.unbind(1)], dim=1)
        if self._static is None:
            return state
        return state + self._weight * self._static.sqrt(static.reshape(len(control), *self._static_shape))

    def sqrt_transpose(self, state: Tensor) -> Tensor:
        """Adjoint of `sqrt`."""
        parts = zip(self._deviations.unbind(1), state.unbind(1), strict=True)
        weights = sum((part * field[:, None] for part, field in parts), torch.zeros_like(state[:, :1]))
        members = self._localisation.sqrt_transpose(weights).flatten(1)
        if self._static is None:
            return members
        return torch.cat([members, self._weight * self._static.sqrt_transpose(state).flatten(1)], dim=1)

    def solve(self, state: Tensor) -> Tensor:
        """By conjugate gradients; NaN for a window where they fail, as with members that leave a state no error."""
        return linear(state, self._solve, self._solve)

    def _solve(self, state: Tensor) -> Tensor:
        operator = self._precise or self
        variance = operator._deviations.square().sum(0)

        def preconditioner(residual: Tensor) -> Tensor:
            if operator._static is None:
                return residual / variance.clamp_min(1e-12 * float(variance.max()))
            return operator._static.solve(residual) / self._weight**2

        solution = conjugate_gradients(operator.apply, state.to(torch.float64), preconditioner, 2000)
        return solution.to(self.dtype)

    def select(self, windows: Tensor) -> EnsembleCovariance:
        """The parts of some windows, where they have their own."""
        part = copy(self)
        part._localisation = self._localisation.select(windows)
        part._static = None if self._static is None else self._static.select(windows)
        part._precise = None if self._precise is None else self._precise.select(windows)
        return part


@dataclass(frozen=True, eq=False)
class Ensemble(Specification):
    r"""Errors whose variances and correlations are those of an ensemble, near a point; none far from it.

    .. math::

        B = w\, C \circ \frac{1}{N - 1} \sum_k (x_k - \bar x)(x_k - \bar x)^T + (1 - w)\, B_s, \qquad
        B^{1/2} v = \sqrt{\frac{w}{N - 1}} \sum_k (x_k - \bar x) \circ C^{1/2} v_k + \sqrt{1 - w}\, B_s^{1/2} v_s

    C tapers what N members show by chance between distant points. It is the same for all components of the state, so
    that what links them in the ensemble, such as geostrophic balance, is kept. Its root maps a control for each
    member; with a `truncation` of the localisation, whose fields are smooth, the control is so much smaller.

    Parameters
    ----------
    members : Tensor (member, component, y, x)
        The states of an ensemble, two or more, in the order and the units of the component. `xvar.covariance.ensemble`
        takes them from a Dataset.
    localisation : specification
        C of unit standard deviation: `Matern` (1.0, length, ...), whose stated length is then that of the taper; a
        smoothness of 8 is near a Gaussian.
    static : specification, optional
        :math:`B_s`, for what the ensemble does not span.
    weight : float
        w, the share of the ensemble. Default: 1, or 0.5 where there is a static part.

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

    def bind(
        self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
    ) -> EnsembleCovariance:
        """Operator on this grid.

        Raises
        ------
        InputError
            Where the members are fewer than two, not finite or on another grid, or the weight is not within (0, 1].
        """
        weight = self.weight if self.weight is not None else (1.0 if self.static is None else 0.5)
        self._check(grid, weight)
        operator = self._operator(grid, weight, dtype, device)
        if dtype != torch.float64 and operator.device.type != "meta":
            operator._precise = self._operator(grid, weight, torch.float64, device)
        return operator

    def _operator(
        self, grid: Grid, weight: float, dtype: torch.dtype, device: torch.device | str | None
    ) -> EnsembleCovariance:
        members = self.members.detach().to(torch.float64)
        deviations = (members - members.mean(0)) * math.sqrt(weight / (len(members) - 1))
        return EnsembleCovariance(
            deviations.to(device=device, dtype=dtype),
            self.localisation.bind(grid, dtype=dtype, device=device),
            None if self.static is None else self.static.bind(grid, dtype=dtype, device=device),
            math.sqrt(1 - weight),
        )

    def _check(self, grid: Grid, weight: float) -> None:
        faults = Faults()
        shape = tuple(self.members.shape)
        if len(shape) != len(grid.shape) + 2 or shape[2:] != grid.shape or shape[0] < 2:
            faults.add(
                found=f"members of shape {shape}",
                expected=f"(member, component, *{grid.shape}) with two members or more",
                fix="xvar.covariance.ensemble(dataset, variables) has them in order",
            )
        if not bool(self.members.isfinite().all()):
            faults.add(found="members with values that are not finite", expected="complete states", fix="fill them")
        if not 0 < weight <= 1 or (self.static is not None and weight == 1):
            faults.add(
                found=f"weight={weight}",
                expected="a share above 0, and below 1 where there is a static part",
                fix="weight=0.5",
            )
        faults.raise_if_any()
