"""Options of a forecast, and the faults of its call."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from xvar.cf.axes import is_lazy
from xvar.errors import Faults
from xvar.plan.configuration import Configuration
from xvar.plan.method import named_models

Kind = Literal["sharp", "mean"]

#: Parts of a forecast from images, beside the last image and the steady motion -> their fields of a `Nowcast`.
PARTS = {
    "transient": "transient",
    "growth": "source",
    "power_limit": "sharpness",
    "short_waves": "restored",
    "motion_fading": "skills",
}
KINDS: tuple[Kind, ...] = ("sharp", "mean")
#: Longest forecast of xvar's own methods and models, in frames: 12 hours of 5-minute radar images.
HORIZON = 144
#: Code of a fault -> what is expected, and the fix.
_FAULTS = {
    "variable-missing": (
        "every variable that assimilate() wrote",
        "analysis = ds.var4d.assimilate(); analysis.var4d.forecast(...)",
    ),
    "no-values": (
        "a window with observations",
        "check the fill values of the file and the selection that were assimilated",
    ),
    "of-rain-alone": ("rain: its statistics are those of rain", "leave out {option}="),
    "option-of-images": ("the extrapolation of images, which alone has it", "leave out {option}="),
    "model-not-stated": ("the model of the forecast: one of your own is in no file", "forecast(lead, dynamics=model)"),
    "lead-too-short": (
        "a lead of at least one step",
        'a longer lead, or a shorter one of every=, such as every="5min"',
    ),
    "lead-too-long": (
        f"a lead of at most {HORIZON} frames, {{longest:g}} s",
        'forecast("{longest:g}s"), or a model of your own, forecast(lead, dynamics=model)',
    ),
    "part-unknown": (
        f"parts of the forecast: {', '.join(PARTS)}",
        'such as without="growth", or without=("transient", "growth")',
    ),
    "members-invalid": ("a number of members, at least 2", "members=20"),
    "seed-invalid": ("a whole number from 0", "seed=0"),
    "seed-without-members": ("a seed of an ensemble", "members=20, seed={seed!r}"),
    "members-of-mean": ("members of the sharp forecast", 'forecast(lead, members=20).mean("member", keep_attrs=True)'),
}


@dataclass(frozen=True)
class ForecastOptions:
    """Options of the extrapolation of images, which a model has no use for."""

    kind: Kind
    without: tuple[str, ...]
    members: int | None
    seed: int

    @property
    def words(self) -> str:
        """Return the options that differ from the defaults, for the history."""
        kind = "" if self.kind == "sharp" else f", kind {self.kind}"
        members = "" if self.members is None else f", {self.members} members from seed {self.seed}"
        return kind + members + "".join(f", without {part}" for part in self.without)


def read_options(kind: Any, members: Any, seed: Any, without: str | Sequence[str], faults: Faults) -> ForecastOptions:
    """Check the options of the extrapolation."""
    faults.check_choice("kind", kind, KINDS, "sharp")
    drawn, seeded = members is not None, seed is not None
    found = {
        "members-invalid": drawn and not _is_whole(members, 2) and f"members={members!r}",
        "seed-invalid": seeded and not _is_whole(seed, 0) and f"seed={seed!r}",
        "seed-without-members": seeded and not drawn and f"seed={seed!r} without members=",
        "members-of-mean": kind == "mean" and drawn and f'members={members!r} with kind="mean"',
    }
    for code, text in found.items():
        if text:
            refuse(faults, code, text, seed=seed)
    names = (without,) if isinstance(without, str) or not isinstance(without, Iterable) else tuple(without)
    for name in names:
        if name not in list(PARTS):  # anything, also what has no hash
            refuse(faults, "part-unknown", f"without={name!r}")
    return ForecastOptions(kind, tuple(part for part in PARTS if part in names), members, seed or 0)


def refuse(faults: Faults, code: str, found: str, variable: Hashable | None = None, **values: Any) -> None:
    """Add a fault of the table."""
    expected, fix = (text.format(**values) for text in _FAULTS[code])
    faults.add(code=code, variable=variable, found=found, expected=expected, fix=fix)


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(value >= least)


def lead_times(horizon: float, step: float | None, frame: float, model: Any, faults: Faults) -> tuple[float, ...]:
    """Return the lead times in seconds; only a model of the user's own may be integrated beyond `HORIZON`."""
    from xvar.core.models.advection import Advection

    step = frame if step is None else step
    count = math.floor(horizon / step + 1e-6)
    if count < 1:
        refuse(faults, "lead-too-short", f"lead of {horizon:g} s, less than the {step:g} s between forecasts")
    if (model is None or isinstance(model, Advection)) and horizon > HORIZON * frame * (1 + 1e-6):
        found = f"lead of {horizon:g} s, {horizon / frame:.0f} times the {frame:g} s between frames"
        refuse(faults, "lead-too-long", found, longest=HORIZON * frame)
        return ()
    return tuple(step * (index + 1) for index in range(count))


def forecast_model(configuration: Configuration, dynamics: Any, faults: Faults) -> Any:
    """Return the model of the forecast."""
    model = configuration.model() if dynamics is None else dynamics
    if isinstance(model, str):
        model = named_models().get(model, model)
    if model is None or isinstance(model, str):
        made_by = (configuration.dynamics or {}).get("model", configuration.method)
        stated = "no dynamics=" if dynamics is None else f"dynamics={dynamics!r}"
        refuse(faults, "model-not-stated", f"{stated} for an analysis by {made_by}")
    return model


def refuse_options(options: ForecastOptions, configuration: Configuration, faults: Faults, *, by_model: bool) -> None:
    """Refuse options of images for a model, and those that were measured for rain alone for another variable."""
    if not by_model and configuration.kind == "rain":
        return
    given: dict[str, Any] = {"kind": None if options.kind == "sharp" else options.kind, "members": options.members}
    code, of = "of-rain-alone", f"for a variable of kind {configuration.kind}"
    if by_model:
        given = {"without": options.without or None, **given}
        code, of = "option-of-images", "with a forecast by a model"
    for name, value in given.items():
        if value is not None:
            refuse(faults, code, f"{name}={value!r} {of}", None if by_model else configuration.variable, option=name)


def refuse_unobserved(data: xr.Dataset, faults: Faults) -> None:
    """Refuse an analysis without any observation, unless its numbers are lazy: no image can be extrapolated."""
    counts = data.get("number_of_observations")
    if counts is not None and not is_lazy(counts) and not counts.any():
        refuse(faults, "no-values", f"an analysis of {counts.size} windows without any observation", counts.name)
