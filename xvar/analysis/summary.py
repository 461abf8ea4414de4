"""Summary of an analysis in a few lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from xvar.analysis.outputs import SHOWN, Part, configuration_of, motion_of
from xvar.cf.metadata import STATUS
from xvar.plan.configuration import Configuration

#: Status of a window -> its cause and remedy.
REMEDIES = {
    "not_run": "the run was interrupted: repeat the same call, which resumes it",
    "not_converged": "evaluations used up: minimizer=xvar.minimize.LBFGS(max_evaluations=...) allows more",
    "background_only": "nothing was observed, or nothing varies: no motion can be found",
    "diverged": "J is not finite: use a shorter window, a shorter step, or a smaller background_error",
    "ambiguous": "another displacement, or none, fits as well: use a longer window, or background= with u and v",
    "failed": 'errors="raise" reports the reason, as xvar status does of a run',
}
TRANSFORMS = {"square_root": "compared as its square root, whose error hardly depends on the rain rate"}
LISTED = 10  # windows


class Summary(str):
    """Text that a notebook or a prompt prints without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the text itself."""
        return str(self)


def summary(data: xr.Dataset, *, part: Part = SHOWN) -> Summary:
    """Summarise an analysis: status, cost, observations, speeds, choices and assumptions.

    Parameters
    ----------
    data : Dataset
        An analysis; lazy parts are computed.
    part : {"steady", "total"}
        Speeds of the steady motion, if the analysis has one, or of the total at every step.

    Returns
    -------
    str
        The method; the number of windows of each status, with a remedy if they did not converge; J and its terms at the
        background and at the analysis; evaluations and observations; values that each rule of quality control rejected;
        speeds in m/s; the choices of the call and its assumptions. Of several windows the range is given.

    Raises
    ------
    InputError
        If `data` is no analysis, or there is no such part.
    """
    configuration = configuration_of(data, "status")
    lines = [
        *_windows(data, configuration),
        *_cost(data, configuration),
        *_observations(data),
        *_motion(data, part),
        *_choices(data, configuration),
    ]
    return Summary("\n".join(lines))


def _windows(data: xr.Dataset, configuration: Configuration) -> Iterator[str]:
    status = np.atleast_1d(data["status"].values)
    counts = (status.size, "window"), (data.sizes.get("step", 1), "frame")
    size = " of ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts)
    yield f"{configuration.variable} ({configuration.kind}): {size}"
    yield f"method: {configuration.method}"
    times = data["time"].values[data["time"].notnull().values]
    if times.size:
        first, last = (str(moment).partition(".")[0] for moment in (times.min(), times.max()))
        yield f"times: {first} to {last}, a frame each {_duration(configuration.frame)}"
    for code, word in enumerate(STATUS):
        which = np.flatnonzero(status == code)
        if which.size:
            more = f" and {which.size - LISTED} more" if which.size > LISTED else ""
            listed = f"window{'s' if which.size > 1 else ''} " + ", ".join(map(str, which[:LISTED])) + more
            named = "" if which.size == status.size else f" ({listed})"
            remedy = f": {REMEDIES[word]}" if word in REMEDIES else ""
            yield f"{which.size} {_words(word)}{named}{remedy}"


def _cost(data: xr.Dataset, configuration: Configuration) -> Iterator[str]:
    """J and its terms in columns; 2 J over the number of observations, if all errors are stated."""
    terms = {str(key): part for key, part in data.items() if str(key).startswith("cost") and "stage" in part.dims}
    rows = [("", "at the background", "at the analysis")]
    for name, part in terms.items():
        title = "J" if name == "cost" else f"  {_words(name.removeprefix('cost_'))}"
        rows.append((title, _span(part.isel(stage=0).values), _span(part.isel(stage=1).values)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        yield "  ".join(part.ljust(width) for part, width in zip(row, widths, strict=True)).rstrip()
    before, after = (np.atleast_1d(data["cost"].isel(stage=stage).values) for stage in (0, 1))
    fell = (1 - after / np.where(before > 0, before, np.nan)) * 100
    if np.isfinite(fell).any():
        yield f"J fell by {_span(fell, '.2g')} %"
    # The default methods compare images in a norm whose expectation is unknown.
    if configuration.dynamics is not None:
        count = np.atleast_1d(data["number_of_observations"].values)
        ratio = 2 * after / np.where(count > 0, count, np.nan)
        if np.isfinite(ratio).any():
            words = "about 1 if all errors are as large as stated; far above, they are larger or J is not minimal"
            yield f"2 J over the number of observations: {_span(ratio, '.3g')} ({words})"


def _observations(data: xr.Dataset) -> Iterator[str]:
    for name in ("evaluations", "number_of_observations"):
        if name in data:
            yield f"{_words(name)} in a window: {_span(data[name].values, ',.0f')}"
    rejected = data.get("number_of_rejected_observations")
    if rejected is not None and (rejected.values > 0).any():
        yield f"observations rejected in a window: {_span(rejected.values, ',.0f')}"
    if "rejected_observations" in data:
        by_rule = data["rejected_observations"].transpose("rule", ...)
        for word, part in zip(_flags(data["rule"]).values(), by_rule.values, strict=True):
            if (part > 0).any():
                yield f"  by the rule {word}: {_span(part, ',.0f')}"
    if "observation_quality" in data:
        quality = data["observation_quality"]
        counts = [(word, int((quality.values == code).sum())) for code, word in _flags(quality).items()]
        yield "observations: " + ", ".join(f"{count} {_words(word)}" for word, count in counts if count)


def _motion(data: xr.Dataset, part: Part) -> Iterator[str]:
    if {"u", "v"} <= set(data.data_vars):
        u, v = motion_of(data, part)
        speed = np.hypot(u.values, v.values)
        speed = speed[np.isfinite(speed)]
        if speed.size:
            low, middle, high = np.percentile(speed, [5, 50, 95])
            of = "" if u.name == "u" else " of the steady motion"
            yield f"speed{of}: {middle:.3g} m/s, 5 to 95 % of the points {low:.3g} to {high:.3g} m/s"
        errors = [data[f"{component.name}_std"] for component in (u, v) if f"{component.name}_std" in data]
        if errors:
            sizes = " and ".join(f"{float(np.sqrt((error.astype('float64') ** 2).mean())):.2g}" for error in errors)
            doubt = errors[0].attrs["relative_error"]
            yield f"standard error of its components along x and y: {sizes} m/s (root mean square, within {doubt:.0%})"
    crossing = data.get("deformation_number")
    if crossing is not None and np.isfinite(crossing.values).any():
        yield f"deformation number: {_span(crossing.values, '.2g')} (trajectories cross above 1)"


def _choices(data: xr.Dataset, configuration: Configuration) -> Iterator[str]:
    yield "chosen and assumed:"
    weak = any(str(name).endswith("_forcing") for name in data.data_vars)
    model = f", model {configuration.dynamics['model']}" if configuration.dynamics else ""
    yield f"- {'weak' if weak else 'strong'} constraint{model}, solved in {configuration.dtype}"
    if configuration.transform != "none" and configuration.dynamics is None:
        yield f"- {TRANSFORMS[configuration.transform]}"
    if "growth" in data:
        yield "- growth and decay of the newest pair of frames go into the forecast"
    if "source" in data:
        yield "- a smooth source beside the motion, for warming and cooling"
    yield from (f"- {note}" for note in configuration.notes)


def _flags(flags: xr.DataArray) -> dict[int, str]:
    """Return the meanings of flags by their values, of a coordinate those that it holds."""
    words = str(flags.attrs["flag_meanings"]).split()
    meanings = dict(zip(map(int, flags.attrs.get("flag_values", range(len(words)))), words, strict=True))
    return {int(code): meanings[int(code)] for code in flags.values} if flags.name in flags.dims else meanings


def _words(name: str) -> str:
    return name.replace("_", " ")


def _duration(seconds: float) -> str:
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g} {unit}"
    return f"{seconds:g} s"


def _span(values: Any, form: str = ".4g") -> str:
    numbers = np.atleast_1d(np.asarray(values, dtype=float))
    numbers = numbers[np.isfinite(numbers)]
    if not numbers.size:
        return "unknown"
    low, high = format(numbers.min(), form), format(numbers.max(), form)
    return low if low == high else f"{low} to {high}"
