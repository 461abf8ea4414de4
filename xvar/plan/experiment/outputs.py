"""Table of the outputs of the methods advection and model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from xvar.plan.control import parameter_variable
from xvar.plan.experiment.record import PointRecord
from xvar.plan.solver import Variable, backgrounds, diagnostics

if TYPE_CHECKING:
    import xarray as xr

    from xvar.cf.record import Record
    from xvar.core.cost_history import Minimisation
    from xvar.core.methods.experiment import Experiment
    from xvar.plan.experiment.observed import Observed
    from xvar.plan.experiment.state import State


def output_variables(
    record: Record,
    state: State,
    background: xr.Dataset | None,
    experiment: Experiment,
    observed: Observed,
    save: Sequence[str],
    dtype: str,
    minimisations: Sequence[Minimisation],
    *,
    cycled: bool,
) -> dict[str, Variable]:
    """Return the variables of an analysis by name; those of the state have the attributes of the background."""
    name = str(record.name)
    variables: dict[str, Variable] = {}
    if not isinstance(record, PointRecord):
        variables[f"{name}_observed"] = Variable(("y", "x"), dtype, "observed")
    for part in state.names:
        variables |= _of_state(part, name, state, background, experiment, save, dtype)
    variables |= _diagnostics(state, experiment, observed, minimisations)
    for label in observed.labels(name):
        dim = "step" if label == name else f"{label}_step"
        for word in (word for word in save if word != "increment"):
            variables[f"{label}_{word}"] = Variable((dim, "y", "x"), dtype, word, of=label)
    if cycled:
        variables |= _with_units(backgrounds(state.names, dtype), name, state)
    for key, parameter in experiment.parameters.items():
        plane: tuple[str, ...] = ("y", "x") if parameter.is_field else ()
        variables[key] = parameter_variable(key, parameter, plane, "1", dtype)
    for key, (parameter, dims) in observed.calibrations.items():
        units = record.units if key.endswith("offset") else "1"
        variables[key] = parameter_variable(key, parameter, dims, units, dtype)
    if observed.points is not None:
        for word in ("background", "analysis"):
            variables[f"observation_{word}"] = Variable(("point",), dtype, f"observation_{word}")
    return variables


def _of_state(
    part: str,
    name: str,
    state: State,
    background: xr.Dataset | None,
    experiment: Experiment,
    save: Sequence[str],
    dtype: str,
) -> dict[str, Variable]:
    """Return the variables of one variable of the state."""
    entry = "analysis" if part == name else part if state.advection and part in ("u", "v") else "state"
    attrs: dict[str, Any] = {}
    if entry == "state" and background is not None:
        kept = ("units", "long_name", "standard_name")
        attrs = {key: value for key, value in background[part].attrs.items() if key in kept}
    variables = {part: Variable(("step", "y", "x"), dtype, entry, of=part, attrs=attrs)}
    units = {"units": f"{state.units[part]} s-1"} if entry == "state" and part in state.units else {}
    if any(part in state.components[key] for key in experiment.model_error):
        variables[f"{part}_forcing"] = Variable(("interval", "y", "x"), dtype, "forcing", of=part, attrs=units)
    if "increment" in save:
        variables[f"{part}_increment"] = Variable(("y", "x"), dtype, "increment", of=part)
    return _with_units(variables, name, state) if entry == "state" else variables


def _with_units(variables: dict[str, Variable], name: str, state: State) -> dict[str, Variable]:
    """Return increments and backgrounds with the units of their variables."""
    own = {part: units for part, units in state.units.items() if part != name}
    return {
        key: replace(part, attrs={"units": own[part.of], **part.attrs})
        if part.entry in ("background", "increment") and part.of in own
        else part
        for key, part in variables.items()
    }


def _diagnostics(
    state: State, experiment: Experiment, observed: Observed, minimisations: Sequence[Minimisation]
) -> dict[str, Variable]:
    """Return the diagnostic variables: the terms of J in their order, and numbers."""
    terms = ["background", *(["model_error"] if experiment.model_error else [])]
    terms += ["parameters"] if experiment.parameters or observed.calibrations else []
    terms += [penalty.name for penalty in experiment.penalties]
    terms += ["divergence" for part in experiment.background_error.values() if getattr(part, "divergence", 0)]
    named = (*dict.fromkeys(terms), "observation")
    motion = {"u", "v"} <= set(state.names) and (state.advection or observed.record is not None)
    return diagnostics(named, motion=motion, minimisations=minimisations)
