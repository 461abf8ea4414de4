r"""Comparison of observations with the state: operators that users write, bias, norm, for images and points alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import Tensor

from xvar.core.dynamics import State
from xvar.core.norm import Huber, Norm, PseudoHuber, Quadratic
from xvar.core.observation import TimeInterpolation, of_each
from xvar.core.parameters import Parameter
from xvar.errors import Faults, InputError

NormName = Literal["quadratic", "huber", "pseudo_huber"]
NORMS: tuple[NormName, ...] = ("quadratic", "huber", "pseudo_huber")


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    r"""Comparison of observations y with the state x, shared by `xvar.observation.Images` and `Points`.

    .. math::

        J_o = \sum \rho\left(R^{-1/2} \left(T(\tilde H(x)) - T(y)\right)\right), \qquad
        \tilde H(x) = a\, H(x) + b + \sum_i \beta_i\, p_i
    """

    operator: Callable[[State], Tensor] | None = None
    error: Any = None
    norm: NormName | None = None
    threshold: float | None = None
    transform: Any = None
    gain: Parameter | None = None
    offset: Parameter | None = None
    bias: Mapping[str, Parameter] | None = None
    quality: Mapping[str, Any] | None = None
    time_interpolation: TimeInterpolation = "linear"

    def __post_init__(self) -> None:
        """Reject unknown choices, norms without a threshold, and calibrations that cannot be estimated."""
        faults = Faults()
        faults.check_choice("time_interpolation", self.time_interpolation, ("linear", "nearest"), "linear")
        faults.check_choice("norm", self.norm, (None, *NORMS), "huber")
        robust = self.norm in ("huber", "pseudo_huber") or (self.norm is None and self.threshold is not None)
        if robust != (self.threshold is not None) or (robust and not 0 < float(self.threshold or 0) < math.inf):
            faults.add(
                code="norm-threshold",
                found=f"norm={self.norm!r} with threshold={self.threshold!r}",
                expected="a positive threshold, in standard deviations, with a robust norm only",
                fix='norm="huber", threshold=2.0',
            )
        for name, parameter in self.parameters.items():
            if not isinstance(parameter, Parameter) or parameter.is_field:
                faults.add(
                    code="calibration-not-a-number",
                    found=f"{name}={parameter!r}",
                    expected="a Parameter that is a number",
                    fix=f"{name}=xvar.control.Parameter(prior={1.0 if name == 'gain' else 0.0}, error=...)",
                )
        if self.quality is not None and not isinstance(self.quality, Mapping):
            faults.add(
                code="quality-type",
                found=f"quality={self.quality!r}",
                expected="a mapping of rules to their limits, or to True or False",
                fix='quality={"range": (0.0, 60.0), "background_check": 4.0}',
            )
        if self.operator is not None and not callable(self.operator):
            faults.add(
                code="operator-not-callable",
                found=f"an operator of type {type(self.operator).__name__}",
                expected="a function of the state, a dict of the tensor (window, component, *grid) of each variable",
                fix='operator=lambda state: state["u"]',
            )
        faults.raise_if_any()

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The gain, the offset and the coefficients of the bias that are estimated."""
        both = {"gain": self.gain, "offset": self.offset}
        bias = {f"bias_{name}": parameter for name, parameter in (self.bias or {}).items()}
        return {name: parameter for name, parameter in both.items() if parameter is not None} | bias

    def with_priors(self, priors: Mapping[str, float]) -> Comparison:
        """Return the same with other priors of some parameters, by their names; their errors stay."""
        known = {name: replace(self.parameters[name], prior=prior) for name, prior in priors.items()}
        bias = {name: known.get(f"bias_{name}", part) for name, part in (self.bias or {}).items()}
        gain, offset = known.get("gain", self.gain), known.get("offset", self.offset)
        return replace(self, gain=gain, offset=offset, bias=bias or None)

    @property
    def background_check(self) -> float | None:
        """The k of the background check; None without one."""
        stated = (self.quality or {}).get("background_check", False)
        return None if stated is False else float(stated)

    @property
    def rho(self) -> Norm:
        """The norm of residuals in standard deviations."""
        if self.threshold is None:
            return Quadratic()
        return Huber(self.threshold) if self.norm == "huber" else PseudoHuber(self.threshold)


@dataclass(frozen=True, eq=False)
class Bias(Parameter):
    r"""Coefficient :math:`\beta` of a bias :math:`\beta\, p` of observations, estimated with the state (VarBC).

    Parameters
    ----------
    prior, error, units, positive, long_name
        As of `xvar.control.Parameter`; numbers.
    predictor : DataArray or callable, optional
        p: values on the dimensions of the observations, or some of them, or a function of the state as an operator is.
        Default: 1, a constant bias.

    References
    ----------
    Dee, D. P. (2005) Bias and data assimilation, doi:10.1256/qj.05.137.
    """

    predictor: Any = None


@dataclass(frozen=True)
class OfVariables:
    r"""Operator that a user writes: a function of the variables of the state by their names.

    The function is given the tensor (window, 1, \*grid) of each variable, the components (window, component, \*grid)
    of the state and the values of its parameters. It returns (window, \*shape), where axes of length one may be left
    out or be added. Raises InputError for a result of another shape, or none.
    """

    function: Callable[[State], Tensor]
    parts: Mapping[str, tuple[str, int]]  # component of each variable, and its number there
    shape: tuple[int, ...]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    def __call__(self, state: State) -> Tensor:
        """Return the equivalents (window, *shape)."""
        named = {name: state[key][:, index, None] for name, (key, index) in self.parts.items()}
        held = {name: parameter.value(state[name]) for name, parameter in self.parameters.items() if name in state}
        found = self._called({**state, **named, **held})
        like = next(iter(state.values()))
        if isinstance(found, Tensor) and [n for n in found.shape[1:] if n > 1] == [n for n in self.shape if n > 1]:
            return found.to(like.dtype).reshape(len(found), *self.shape)
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise InputError(
            code="operator-shape",
            variable="operator",
            found=f"an operator that returns {shape}",
            expected=f"a tensor of the shape of the observations, {(len(like), *self.shape)}",
            fix="return (window, channel, *grid); Images(..., coordinates='data') for values on coordinates of their "
            "own",
        )

    def _called(self, state: State) -> Any:
        try:
            return self.function(state)
        except (KeyError, TypeError, AttributeError, RuntimeError, IndexError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                code="operator-fails",
                variable="operator",
                found=f"an operator that raises {type(error).__name__}: {' '.join(str(error).split())}",
                expected=f"a function of torch operations on {', '.join(map(repr, state))}",
                fix="call it with a dict of tensors (window, component, *grid)",
            ) from error


@dataclass(frozen=True)
class Coefficient:
    """A static parameter of observations: its key in the state, and the position of its value."""

    key: str
    parameter: Parameter
    index: int = 0

    def __call__(self, state: State, axes: int) -> Tensor:
        """Return its value (window, 1, ...) with so many axes."""
        control = state[self.key][:, self.index]
        return self.parameter.value(control).reshape(len(control), *(1,) * (axes - 1))


@dataclass(frozen=True)
class Calibrated:
    r"""Observation operator of an instrument with errors of calibration: :math:`a\, H(x) + \sum_i \beta_i\, p_i(x)`.

    A predictor is None for the constant 1, a tensor broadcastable to the equivalents, or an operator.
    """

    operator: Any
    gain: Coefficient | None
    terms: Sequence[tuple[Coefficient, Any]]

    def __call__(self, state: State) -> Tensor:
        """Return the equivalent in the units of the instrument."""
        values: Tensor = self.operator(state)
        if self.gain is not None:
            values = values * self.gain(state, values.ndim)
        for coefficient, predictor in self.terms:
            factor = coefficient(state, values.ndim)
            if predictor is not None:
                factor = factor * (predictor if isinstance(predictor, Tensor) else predictor(state))
            values = values + factor
        return values

    def select(self, windows: Tensor) -> Calibrated:
        """Return the operator of some windows of the batch."""

        def selected(predictor: Any) -> Any:
            if isinstance(predictor, Tensor):
                return predictor if len(predictor) == 1 else predictor[windows]
            return of_each("select", predictor, windows)

        terms = [(coefficient, selected(predictor)) for coefficient, predictor in self.terms]
        return replace(self, operator=of_each("select", self.operator, windows), terms=terms)

    def coarsen(self, factor: int) -> Calibrated:
        """Return the operator on a coarser grid."""
        terms = [(coefficient, of_each("coarsen", predictor, factor)) for coefficient, predictor in self.terms]
        return replace(self, operator=of_each("coarsen", self.operator, factor), terms=terms)


def calibrated(
    operator: Any, comparison: Comparison, prefix: str, predictors: Mapping[str, Any], index: int = 0
) -> Any:
    """Return an operator with the calibration of a comparison; `index` is the position of gain and offset."""
    known = comparison.parameters
    if not known:
        return operator
    gain = None if comparison.gain is None else Coefficient(f"{prefix}gain", comparison.gain, index)
    terms = [
        (Coefficient(prefix + name, parameter, index if name == "offset" else 0), predictors.get(name))
        for name, parameter in known.items()
        if name != "gain"
    ]
    return Calibrated(operator, gain, terms)
