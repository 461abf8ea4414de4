"""Parameters and penalties of a call: checked, in seconds and by component, and what the output says of them."""

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


def checked_parameters(
    given: Any, components: Components, shape: tuple[int, ...], faults: Faults
) -> dict[str, Parameter]:
    """The parameters of the model by name, each fit for the grid."""
    from xvar.core.parameters import Parameter

    if given is None:
        return {}
    if not isinstance(given, Mapping):
        faults.add(
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
                found=f"parameter {name!r} of type {type(parameter).__name__}",
                expected="an xvar.control.Parameter: a prior and its error",
                fix=f"parameters={{{name!r}: xvar.control.Parameter(prior=..., error=...)}}",
            )
            continue
        if name in taken:
            faults.add(
                found=f"a parameter {name!r}",
                expected="a name that no variable of the state has",
                fix="rename it, in the model too",
            )
        check_field(str(name), parameter, shape, faults)
        parameters[str(name)] = parameter
    return parameters


def check_field(name: str, parameter: Parameter, shape: tuple[int, ...], faults: Faults) -> None:
    """A prior that is a field has the grid's shape."""
    own = np.shape(parameter.prior)
    if own and own != shape:
        faults.add(
            variable=f"prior of {name}",
            found=f"shape {own}",
            expected=f"that of the grid, {shape}",
            fix="give a number, or an array (y, x) with both coordinates ascending",
        )


def checked_penalties(given: Any, components: Components, faults: Faults) -> tuple[DigitalFilter, ...]:
    """The penalties, their durations in seconds, their deviations by component of the state."""
    import torch

    from xvar.core.digital_filter import DigitalFilter

    if given is None:
        return ()
    penalties: Sequence[Any] = given if isinstance(given, Sequence) else (given,)
    found = []
    for penalty in penalties:
        if not isinstance(penalty, DigitalFilter):
            faults.add(
                found=f"a penalty of type {type(penalty).__name__}",
                expected="an xvar.penalty.DigitalFilter",
                fix='penalties=xvar.penalty.DigitalFilter("6h", std={"u": 0.1, "v": 0.1})',
            )
            continue
        own = ", ".join(repr(name) for names in components.values() for name in names)
        unknown = [key for key in penalty.std if not any(key == k or key in names for k, names in components.items())]
        for key in unknown:
            faults.add(
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
                # Infinite where a variable is free: what is over it is nothing.
                each = [float(penalty.std.get(name, 1e30)) for name in names]
                deviations[key] = torch.tensor(each, dtype=torch.float64).reshape(-1, 1, 1)
        if deviations and not unknown and None not in (lengths["cutoff"], lengths["start"]):
            found.append(replace(penalty, **lengths, std=deviations))
    return tuple(found)


def parameter_variables(
    own: Mapping[str, Parameter], calibration: Mapping[str, Parameter], per_frame: bool, units: str | None, dtype: str
) -> dict[str, Variable]:
    """The estimated parameters, as variables of the result with their priors."""
    variables = {}
    for name, parameter in {**own, **calibration}.items():
        dims: tuple[str, ...] = ("y", "x") if parameter.is_field else ()
        if name in calibration and per_frame:
            dims = ("step",)
        default = units if name == "offset" and name in calibration else "1"
        variables[name] = Variable(dims, dtype, "parameter", of=name, attrs=parameter_attributes(parameter, default))
    return variables


def parameter_attributes(parameter: Parameter, units: str | None) -> dict[str, Any]:
    """Units and prior of a parameter."""
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
    return attrs
