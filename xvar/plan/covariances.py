"""Reading of the options `background_error` and `model_error`: specifications of covariances by component."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xvar.cf.record import Record
from xvar.errors import Faults
from xvar.plan.bridge import core_grid

Components = Mapping[str, tuple[str, ...]]


def errors_by_component(given: Any, option: str, components: Components, faults: Faults) -> dict[str, Any]:
    """Return the specification of each component; a single one is that of the motion, or of the only component."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        given = {"velocity" if "velocity" in components else next(iter(components), "velocity"): given}
    own = {name: key for key, names in components.items() for name in names if len(names) == 1}
    errors = {own.get(str(key), str(key)): part for key, part in given.items()}
    for key, part in errors.items():
        if key not in components:
            faults.add(
                code="component-unknown",
                variable=option,
                found=f"{option} of {key!r}",
                expected=f"a component of the state: {', '.join(components)}",
                fix=f"{option}={{{next(iter(components), 'velocity')!r}: ...}}",
            )
        if not hasattr(part, "bind"):
            faults.add(
                code="covariance-type",
                variable=option,
                found=f"{option} of {key!r}: {type(part).__name__}",
                expected="a specification of xvar.covariance",
                fix=f"{option}=xvar.covariance.Matern(std=3.0, length=20e3), Diagonal(std=...), ...",
            )
    return errors


def check_covariances(
    record: Record, given: Mapping[str, Mapping[str, Any]], components: Components, faults: Faults
) -> None:
    """Report correlations that the grid cannot hold, and matrices that are not symmetric or not positive.

    `given` are the specifications by option and component.
    """
    from xvar.core.covariance.validity import validity_fault

    coarsest = max(record.grid.spacing)
    parts = {f"{option} of {key!r}": (key, part) for option, own in given.items() for key, part in own.items()}
    short = {
        label: part.length
        for label, (_, part) in parts.items()
        if isinstance(getattr(part, "length", None), (int, float)) and 0 < part.length < coarsest
    }
    for label, length in short.items():
        faults.add(
            code="correlation-length",
            variable=label,
            found=f"a length of {length:g} m, {length / coarsest:.2g} of the {coarsest:g} m between points",
            expected="a length of at least one cell: a shorter one aliases",
            fix="lengths are in metres: length=80e3 is 80 km; xvar.covariance.Diagonal has no correlation",
        )
    if short:
        return
    for label, (key, part) in parts.items():
        fault = validity_fault(part, core_grid(record.grid, record.land), len(components[key]))
        if fault is not None:
            faults.add(code=fault.code, variable=label, found=fault.found, expected=fault.expected, fix=fault.fix)
