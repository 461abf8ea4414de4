"""The option `ensemble`: standard errors and members of an ensemble of assimilations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from xvar.plan.call import Call, Variable

if TYPE_CHECKING:
    from xvar.core.ensemble import Ensemble
    from xvar.plan.experiment.observations import Observed

#: Suffix of the members at the time from which the next window begins.
MEMBERS = "_members"


def read_ensemble(call: Call, observed: Observed) -> Ensemble | None:
    """Return the ensemble that a call asks for, if any; report options that it excludes."""
    from xvar.core.ensemble import Ensemble

    options, given = call.options, call.options.ensemble
    if given is None:
        return None
    if not isinstance(given, Ensemble):
        call.faults.add(
            code="ensemble-type",
            variable="ensemble",
            found=f"ensemble of type {type(given).__name__}",
            expected="xvar.Ensemble",
            fix="ensemble=xvar.Ensemble(members=20)",
        )
        return None
    excluded = {
        "uncertainty": options.uncertainty is not None,
        "penalties": options.penalties is not None,
        "save": "cost_history" in options.save,
        "observation": any(source.stated.reset for source in observed.images),
    }
    for name in (name for name, present in excluded.items() if present):
        call.faults.add(
            code="option-with-ensemble",
            variable=name,
            found=f"{name}={getattr(options, name)!r} with an ensemble of assimilations",
            expected="standard errors from one source, and states that no observation replaces",
            fix={"save": "save=('samples',)"}.get(name, f"leave {name}= out, or ensemble="),
        )
    return given


def with_members(
    outputs: Mapping[str, Variable], ensemble: Ensemble | None, names: Sequence[str], call: Call
) -> dict[str, Variable]:
    """Return outputs, with standard errors of the variables of a state and their members."""
    if ensemble is None:
        return dict(outputs)
    kinds = ("forcing", "parameter")
    own = {name: part for name, part in outputs.items() if name in names or part.entry in kinds}
    attrs = {
        "method": "ensemble of assimilations",
        "number_of_members": ensemble.members,
        "relative_error": round(1 / math.sqrt(2 * (ensemble.members - 1)), 3),
    }
    found = {f"{name}_std": replace(part, entry="standard_error", of=name, attrs=attrs) for name, part in own.items()}
    if "samples" in call.options.save:
        for name, part in own.items():
            found[f"{name}_samples"] = replace(part, dims=("member", *part.dims), entry="samples", of=name, attrs={})
    if call.cycled:
        for name in names:
            part = replace(outputs[name], dims=("member", *call.plane), entry="members", of=name, attrs={})
            found[f"{name}{MEMBERS}"] = part
    return {**outputs, **found}
