"""The option `uncertainty`: standard errors of an analysis, and the members they are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xvar.execution.batches import WindowBatch
from xvar.plan.bridge import Bridge, to_tensor
from xvar.plan.call import Call, Variable

if TYPE_CHECKING:
    from torch import Tensor

    from xvar.core.ensemble import Ensemble
    from xvar.core.posterior import Sampling

#: Suffixes of the names of standard errors, and of the members they are made of.
ERRORS = ("_std", "_samples", "_members")
#: Rows of the table of metadata whose variables have a standard error, for any method.
_MOTION = ("u", "v", "u_steady", "v_steady", "u_transient", "v_transient")
_CONTROL = (*_MOTION, "growth", "source", "forcing", "state", "parameter")


def window_seeds(ends: NDArray[Any], seed: int = 0) -> NDArray[np.int64]:
    """Return the seed of each window, from that of the call and the date of its end: the same alone as in a batch."""
    dates = ends.astype("datetime64[ms]").astype(object) if ends.dtype.kind == "M" else ends
    texts = [date.isoformat().encode() for date in dates]
    seeds = [np.random.SeedSequence([seed, *text]).generate_state(1, np.uint64)[0] >> np.uint64(1) for text in texts]
    return np.array(seeds, dtype=np.int64)


def seeds_of(batch: WindowBatch, sampling: Sampling | Ensemble | None, bridge: Bridge) -> Tensor | None:
    """Return the seeds of a batch; None if nothing is drawn."""
    if sampling is None:
        return None
    assert batch.ends is not None
    return to_tensor(window_seeds(batch.ends, getattr(sampling, "seed", 0)), dtype="int64", device=bridge.device)


def read_sampling(call: Call, errors: Mapping[str, Any]) -> Sampling | None:
    """Return the sampling that a call asks for, if any; `errors` are B and Q by component."""
    from xvar.core.posterior import Sampling

    options = call.options
    if options.uncertainty is None:
        return None
    for name, part in errors.items():
        if hasattr(part, "penalties") and part.penalties(call.bridge.core_grid()):
            call.faults.add(
                code="uncertainty-with-penalty",
                variable="uncertainty",
                found=f'uncertainty="posterior" with a penalty on the divergence of {name!r}',
                expected="covariances alone, from which errors can be drawn",
                fix='xvar.covariance.Tikhonov(..., divergence=0.0) or edges="periodic", or xvar.covariance.Helmholtz',
            )
    return Sampling(solves=options.samples, keep="samples" in options.save)


def with_errors(outputs: Mapping[str, Variable], sampling: Sampling | None, *others: str) -> dict[str, Variable]:
    """Return outputs, the standard errors of the control among them and of `others`, and degrees of freedom."""
    if sampling is None:
        return dict(outputs)
    own = {name: part for name, part in outputs.items() if part.entry in _CONTROL or name in others}
    attrs = {
        "method": "posterior",
        "number_of_solves": sampling.solves,
        "relative_error": round(1 / math.sqrt(2 * sampling.solves), 3),
    }
    found = {f"{name}_std": replace(part, entry="standard_error", of=name, attrs=attrs) for name, part in own.items()}
    for name in ("degrees_of_freedom_for_signal", "degrees_of_freedom_for_signal_std"):
        found[name] = Variable(("observation_type",), "float64", name)
    if sampling.keep:
        for name, part in own.items():
            found[f"{name}_samples"] = replace(part, dims=("member", *part.dims), entry="samples", of=name, attrs={})
    return {**outputs, **found}


def attributes_of_errors(name: str, part: Variable, of: dict[str, Any]) -> dict[str, Any]:
    """Return units and standard name of a standard error or of members; link an error from the variable `of` it."""
    attrs: dict[str, Any] = {key: of[key] for key in ("units", "units_metadata") if key in of}
    words = {"standard_error": "standard error", "samples": "members from the posterior"}
    what = words.get(part.entry, "members from which the next window begins")
    attrs["long_name"] = f"{what}: {of['long_name']}" if "long_name" in of else f"{what} of {part.of}"
    if part.entry == "standard_error":
        if "units_metadata" in attrs:
            attrs["units_metadata"] = "temperature: difference"
        known = str(of.get("standard_name", ""))
        if known and " " not in known:
            attrs["standard_name"] = f"{known} standard_error"
        of["ancillary_variables"] = f"{of.get('ancillary_variables', '')} {name}".strip()
    return attrs
