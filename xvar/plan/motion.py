"""The plan where the user states no model: the motion at the end of each window."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from xvar.cf.units import convert
from xvar.execution.schedule import Schedule
from xvar.plan import bridge
from xvar.plan.base import Plan, Variable, backgrounds, diagnostics
from xvar.plan.configuration import Configuration
from xvar.plan.record import Record


def plan_motion(
    record: Record,
    schedule: Schedule,
    configuration: Configuration,
    minimizer: Any = None,
    *,
    cost_history: bool = False,
) -> Plan:
    """Plan the problem of `xvar.core.methods.image_motion.ImageMotion`, or of `xvar.core.methods.currents.Currents` for the sea."""
    name, dtype = str(record.name), configuration.dtype
    variables = {
        name: Variable(("step", "y", "x"), dtype, "analysis"),
        "u": Variable(("step", "y", "x"), dtype, "u"),
        "v": Variable(("step", "y", "x"), dtype, "v"),
        f"{name}_observed": Variable(("y", "x"), dtype, "observed"),
        "image_scale": Variable((), dtype, "image_scale"),
    }
    if configuration.transient is not None:
        variables |= {name: Variable(("y", "x"), dtype, name) for name in ("u_transient", "v_transient", "growth")}
    forced: tuple[float, ...] = ()
    if configuration.kelvin is not None:
        variables["source"] = Variable(("y", "x"), dtype, "source", of=name)
    if configuration.model_error:
        forced = tuple(index + 0.5 for index in range(schedule.frames.shape[1] - 1))
        variables |= {f"{part}_forcing": Variable(("interval", "y", "x"), dtype, "forcing", of=part) for part in "uv"}
    carried: tuple[str, ...] = ()
    if configuration.cycled:
        carried = ("u", "v", *(("u_transient", "v_transient") if configuration.transient is not None else ()))
        variables |= backgrounds(("u", "v"), dtype)
        words = "the motion of a window has that of the window before as its background, with B"
        grown = " grown by the model error since then" if configuration.model_error else " as about rest"
        configuration = replace(configuration, notes=(*configuration.notes, words + grown))
    if configuration.coast == "no_flow":
        words = "no flow through the coast" if record.land is not None else "no land, and so no coast to close"
        configuration = replace(configuration, notes=(*configuration.notes, words))
    terms = ("background", *(("model_error",) if configuration.model_error else ()), "observation")
    motion = replace(configuration.motion(minimizer), cost_history=cost_history)
    minimisations = motion.minimisations(bridge.core_grid(record.grid)) if cost_history else ()
    solve = partial(
        bridge.solve_motion,
        name=name,
        grid=record.grid,
        land=record.land,
        motion=motion,
        dtype=dtype,
        device=configuration.device,
        cycled=configuration.cycled,
        zero=0.0 if configuration.kelvin is None else float(convert(0.0, "degree_Celsius", record.units)),
    )
    return Plan(
        configuration,
        solve,
        {**variables, **diagnostics(terms, minimisations=minimisations)},
        forced=forced,
        carried=carried,
        artefacts=True,
        minimisations=minimisations,
    )
