"""The options `parameters` and `penalties`, in seconds and by component of the state, and their output attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from xvar.cf.times import parse_duration
from xvar.errors import Faults
from xvar.plan.solver import Variable

if TYPE_CHECKING:
    from xvar.core.digital_filter import DigitalFilter
    from xvar.core.parameters import Parameter

Components = Mapping[str, tuple[str, ...]]


def read_parameters(given: Any, components: Components, shape: tuple[int, ...], faults: Faults) -> dict[str, Parameter]:
    """Return the parameters of the model by name."""
    from xvar.core.parameters import Parameter

    if given is None:
        return {}
    if not isinstance(given, Mapping):
        faults.add(
            code="parameters-not-a-mapping",
            variable="parameters",
            found=f"parameters of type {type(given).__name__}",
            expected="a mapping of the model's names to xvar.control.Parameter",
            fix='parameters={"diffusivity": xvar.control.Parameter(prior=100.0, error=30.0, units="m2 s-1")}',
        )
        return {}
    taken = {*components, *(name for names in components.values() for name in names), "gain", "offset"}
    parameters: dict[str, Parameter] = {}
    for name, parameter in given.items():
        if not isinstance(parameter, Parameter):
            faults.add(
                code="parameter-not-a-parameter",
                variable="parameters",
                found=f"parameter {name!r} of type {type(parameter).__name__}",
                expected="an xvar.control.Parameter: a prior and its error",
                fix=f"parameters={{{name!r}: xvar.control.Parameter(prior=..., error=...)}}",
            )
            continue
        if name in taken:
            faults.add(
                code="parameter-name-taken",
                variable="parameters",
                found=f"a parameter {name!r}",
                expected="a name that no variable of the state has",
                fix="rename it, in the model too",
            )
        _check_field(str(name), parameter, shape, faults)
        parameters[str(name)] = parameter
    return parameters


def _check_field(name: str, parameter: Parameter, shape: tuple[int, ...], faults: Faults) -> None:
    """Report a prior that is a field of another shape than the grid."""
    own = np.shape(parameter.prior)
    if own and own != shape:
        faults.add(
            code="parameter-prior-shape",
            variable=f"prior of {name}",
            found=f"shape {own}",
            expected=f"that of the grid, {shape}",
            fix="give a number, or an array (y, x) with both coordinates ascending",
        )


def read_penalties(given: Any, components: Components, faults: Faults) -> tuple[DigitalFilter, ...]:
    """Return the penalties, their durations in seconds, their deviations by component of the state."""
    import torch

    from xvar.core.digital_filter import DigitalFilter

    if given is None:
        return ()
    penalties: Sequence[Any] = given if isinstance(given, (list, tuple)) else (given,)
    found = []
    for penalty in penalties:
        if not isinstance(penalty, DigitalFilter):
            faults.add(
                code="penalty-unknown",
                variable="penalties",
                found=f"a penalty of type {type(penalty).__name__}",
                expected="an xvar.penalty.DigitalFilter",
                fix='penalties=xvar.penalty.DigitalFilter("6h", std={"u": 0.1, "v": 0.1})',
            )
            continue
        own = ", ".join(repr(name) for names in components.values() for name in names)
        unknown = [key for key in penalty.std if not any(key == k or key in names for k, names in components.items())]
        for key in unknown:
            faults.add(
                code="penalty-of-unknown-variable",
                variable="penalties",
                found=f"a digital filter of {key!r}",
                expected=f"a variable of the state: {own}",
                fix="name the variables as the background does",
            )
        lengths = {
            name: value if isinstance(value, (int, float)) or value is None else parse_duration(value, name, faults)
            for name, value in (("cutoff", penalty.cutoff), ("span", penalty.span), ("start", penalty.start))
        }
        deviations: dict[str, Any] = {}
        for key, names in components.items():
            if key in penalty.std:
                deviations[key] = penalty.std[key]
            elif set(names) & set(penalty.std):
                # A variable without a deviation is free.
                each = [float(penalty.std.get(name, 1e30)) for name in names]
                deviations[key] = torch.tensor(each, dtype=torch.float64).reshape(-1, 1, 1)
        if deviations and not unknown and None not in (lengths["cutoff"], lengths["start"]):
            found.append(replace(penalty, **lengths, std=deviations))
    return tuple(found)


def parameter_variable(
    name: str, parameter: Parameter, dims: tuple[str, ...], units: str | None, dtype: str
) -> Variable:
    """Return the variable of an estimated parameter, with its prior; `units` are those if it states none."""
    attrs: dict[str, Any] = {}
    own = parameter.units or units
    if own:
        attrs["units"] = own
    if parameter.long_name:
        attrs["long_name"] = parameter.long_name
    attrs["prior"] = float(np.mean(parameter.prior))
    spread = getattr(parameter.error, "std", None) if parameter.is_field else parameter.error
    if isinstance(spread, (int, float)):
        attrs["prior_standard_deviation"] = float(spread)
    if parameter.positive:
        attrs["comment"] = "its logarithm was estimated: the standard deviation of the prior is that of the logarithm"
    return Variable(dims, dtype, "parameter", of=name, attrs=attrs)
