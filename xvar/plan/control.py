"""The options about the control, in units of the core: background, covariances, parameters and penalties."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xvar.cf.grid.coordinates import on_grid
from xvar.cf.record import Record
from xvar.cf.times import parse_duration
from xvar.errors import Faults, nearest
from xvar.plan.bridge import Array, ascending
from xvar.plan.call import Call

if TYPE_CHECKING:
    from xvar.core.digital_filter import DigitalFilter
    from xvar.core.parameters import Parameter

Components = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, eq=False)
class Cycled:
    r"""Each window begins from the forecast of the window before it: the cycling of an operational centre.

    Windows form chains, one for each stretch of the record without a gap that is longer than a window. Inside a chain
    they are solved one after the other; chains are independent. Windows are half-open, so that no frame is assimilated
    twice: the next begins at the first frame behind. A window behind one that failed begins anew, as the first does:
    ``background_source`` says it of each.

    Parameters
    ----------
    first : Dataset, optional
        x_b of the first window of each chain. Default: what `assimilate` takes without a background; a model of your
        own has no default.

    Notes
    -----
    Only the mean is carried, not the covariance of the analysis. With a model, errors or observations of your own,

    .. math:: x_b^{k+1} = M(x_a^k), \quad B_{k+1} = B + (t_{k+1} - t_k)\, Q,

    where :math:`t_k` is the first frame of window k, B the stated `background_error`, taken for the covariance of each
    analysis at the beginning of its window, and Q the stated `model_error` in a second. With the strong constraint,
    where windows themselves have no model error, a stated one grows B all the same; without one B stays. The frame at
    :math:`t_{k+1}` is an observation, while in the first window it may be the background. Where every analysis does
    have the covariance B, and the model leaves it as it is, this is the Kalman filter; otherwise it is a filter whose
    gain does not know what was observed before.

    For the currents of the sea (`xvar.core.methods.currents.Currents`) the current at the end of the window before is
    background and first guess, and B grows by its model error. For the motion of other images
    (`xvar.core.methods.image_motion.ImageMotion`) it is the steady motion and what is left of the transient one; B,
    which has no model error, stays.
    """

    first: xr.Dataset | None = None


def read_background(given: Any) -> tuple[bool, xr.Dataset | None]:
    """Return whether windows are cycled, and the background that is stated."""
    if isinstance(given, Cycled):
        return True, given.first
    return (True, None) if isinstance(given, str) else (False, given)


def complete(
    values: Array, land: Array | None, label: str, faults: Faults, fill: float | None = None, *, gaps: bool = False
) -> Array:
    """Fill land (y, x) with a number, or the mean of the sea; report values at sea that are not finite, but for `gaps`.

    Samplers at the coast and models need numbers there.
    """
    broken = ~np.isfinite(values)
    at_sea = broken if land is None else broken & ~land
    if at_sea.any() and not gaps:
        faults.add(
            code="background-incomplete",
            variable=label,
            index=tuple(int(axis[0]) for axis in np.nonzero(at_sea)[-2:]),
            found=f"{int(at_sea.sum())} values that are not finite, at sea",
            expected="a complete state, but on land",
            fix="background.fillna(...)",
        )
        return values
    if not broken.any():
        return values
    return np.where(broken, values[~broken].mean() if fill is None else fill, values)


def errors_by_component(
    given: Any, option: str, components: Components, faults: Faults, *, of_state: bool = False
) -> dict[str, Any]:
    """Return the specification of each component; a single one is that of the motion, or of the only component.

    One `of_state` may be a function of the background that returns the specification.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        given = {"velocity" if "velocity" in components else next(iter(components), "velocity"): given}
    own = {name: key for key, names in components.items() for name in names if len(names) == 1}
    errors = {own.get(str(key), str(key)): part for key, part in given.items()}
    for key, part in errors.items():
        if components and key not in components:  # without any, the missing background is the fault
            faults.add(
                code="component-unknown",
                variable=option,
                found=f"{option} of {key!r}",
                expected=f"a component of the state: {', '.join(components)}",
                fix=nearest(key, components, f"{option}={{{next(iter(components))!r}: ...}}"),
            )
        if not hasattr(part, "bind") and not (of_state and callable(part)):
            faults.add(
                code="covariance-type",
                variable=option,
                found=f"{option} of {key!r}: {type(part).__name__}",
                expected="a specification of xvar.covariance",
                fix=f"{option}=xvar.covariance.Matern(std=3.0, length=20e3), Diagonal(std=...), ...",
            )
    return errors


def check_covariances(call: Call, given: Mapping[str, Mapping[str, Any]], components: Components) -> None:
    """Report correlations that the grid cannot hold, and matrices that are not symmetric or not positive.

    `given` are the specifications by option and component.
    """
    from xvar.core.covariance.base import validity_fault

    coarsest = max(call.record.grid.spacing)
    every = ((option, key, part) for option, own in given.items() for key, part in own.items())
    parts = {f"{option} of {key!r}": (key, part) for option, key, part in every if key in components}
    short = {
        label: part.length
        for label, (_, part) in parts.items()
        if isinstance(getattr(part, "length", None), (int, float)) and 0 < part.length < coarsest
    }
    for label, length in short.items():
        call.faults.add(
            code="correlation-length",
            variable=label,
            found=f"a length of {length:g} m, {length / coarsest:.2g} of the {coarsest:g} m between points",
            expected="a length of at least one cell: a shorter one aliases",
            fix="lengths are in metres: length=80e3 is 80 km; xvar.covariance.Diagonal has no correlation",
        )
    if short:
        return
    for label, (key, part) in parts.items():
        known = hasattr(part, "bind")
        fault = validity_fault(part, call.bridge.core_grid(), len(components[key])) if known else None
        if fault is not None:
            call.faults.add(code=fault.code, variable=label, found=fault.found, expected=fault.expected, fix=fault.fix)


def read_parameters(given: Any, components: Components, record: Record, faults: Faults) -> dict[str, Parameter]:
    """Return the parameters of the model by name, their fields on the grid of the record."""
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
        if isinstance(parameter.prior, xr.DataArray):
            field = on_grid(parameter.prior, record.array, record.axes, faults, f"prior of {name}")
            if field is None:
                continue
            parameter = replace(parameter, prior=np.ascontiguousarray(ascending(field.values, record.grid)))
        own, shape = np.shape(parameter.prior), record.grid.shape
        if own and own != shape:
            faults.add(
                code="parameter-prior-shape",
                variable=f"prior of {name}",
                found=f"shape {own}",
                expected=f"that of the grid, {shape}",
                fix="give a number, a DataArray on the grid, or an array with ascending coordinates",
            )
        parameters[str(name)] = parameter
    return parameters


def read_penalties(given: Any, components: Components, faults: Faults) -> tuple[DigitalFilter, ...]:
    """Return the penalties, their durations in seconds, their deviations by component of the state."""
    import torch

    from xvar.core.digital_filter import DigitalFilter

    if given is None:
        return ()
    own = [name for names in components.values() for name in names]
    found = []
    for penalty in given if isinstance(given, (list, tuple)) else (given,):
        if not isinstance(penalty, DigitalFilter):
            faults.add(
                code="penalty-unknown",
                variable="penalties",
                found=f"a penalty of type {type(penalty).__name__}",
                expected="an xvar.penalty.DigitalFilter",
                fix='penalties=xvar.penalty.DigitalFilter("6h", std={"u": 0.1, "v": 0.1})',
            )
            continue
        unknown = [key for key in penalty.std if key not in (*components, *own)]
        for key in unknown:
            faults.add(
                code="penalty-of-unknown-variable",
                variable="penalties",
                found=f"a digital filter of {key!r}",
                expected=f"a variable of the state: {', '.join(map(repr, own))}",
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
