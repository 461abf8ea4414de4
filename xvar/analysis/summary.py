"""An analysis in a few lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.metadata import STATUS
from xvar.errors import Fault, InputError
from xvar.plan.configuration import ATTRIBUTE, Configuration

#: What became of a window, and what to do about it where that was not what was hoped for.
REMEDIES = {
    "not_run": "the run was interrupted: the same call goes on",
    "not_converged": "the evaluations were used up: minimizer=xvar.minimize.LBFGS(max_evaluations=...) allows more",
    "background_only": "nothing was observed, or nothing varies: there is no motion to be found",
    "diverged": "J has no value where the model went: a shorter window, a shorter step, or a smaller background_error",
    "failed": 'errors="raise" says why, as xvar status does of a run',
}
TRANSFORMS = {"square_root": "compared as its square root, whose error hardly depends on how much it rains"}
LISTED = 10  # windows


class Summary(str):
    """Text that a notebook or a prompt shows as it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        """The text itself, without quotes."""
        return str(self)


def summary(data: xr.Dataset) -> Summary:
    """Say what became of an analysis and what was assumed for it.

    Parameters
    ----------
    data : Dataset
        An analysis; what is lazy in it is computed.

    Returns
    -------
    str
        Status of the windows, and what to do about those that did not end well; J and its terms before and after; their
        evaluations and observations; the speeds in m/s; the choices that the call made and what it assumed. Of several
        windows the range is given.

    Raises
    ------
    InputError
        Where `data` is no analysis.
    """
    text = data.attrs.get(ATTRIBUTE)
    if text is None or "status" not in data:
        raise InputError(
            Fault("a Dataset that is no analysis", "what assimilate() gives", "ds.var4d.assimilate().var4d.summary()")
        )
    configuration = Configuration.from_json(text)
    lines = [
        *_windows(data, configuration),
        *_cost(data, configuration),
        *_observations(data),
        *_motion(data),
        *_choices(data, configuration),
    ]
    return Summary("\n".join(lines))


def _windows(data: xr.Dataset, configuration: Configuration) -> Iterator[str]:
    status = np.atleast_1d(data["status"].values)
    windows, frames = _count(status.size, "window"), _count(data.sizes.get("step", 1), "frame")
    yield f"{configuration.variable} ({configuration.kind}): {windows} of {frames}"
    times = data["time"].values.ravel()
    times = times[~np.isnat(times)] if times.dtype.kind == "M" else times[times != np.array(None)]
    if times.size:
        every = f", a frame each {_duration(configuration.frame)}"
        yield f"times: {_moment(times.min())} to {_moment(times.max())}{every}"
    for code, word in enumerate(STATUS):
        which = np.flatnonzero(status == code)
        if which.size:
            named = "" if which.size == status.size else f" ({_listed(which)})"
            remedy = f": {REMEDIES[word]}" if word in REMEDIES else ""
            yield f"{which.size} {word.replace('_', ' ')}{named}{remedy}"


def _cost(data: xr.Dataset, configuration: Configuration) -> Iterator[str]:
    """J and its terms in columns, and what it is expected to be where it is that of Gaussian errors."""
    names = [str(key) for key in data.data_vars if str(key) == "cost" or str(key).startswith("cost_")]
    rows = [("", "at the background", "at the analysis")]
    for name in names:
        stages = np.atleast_2d(data[name].transpose(..., "stage").values)
        title = "J" if name == "cost" else f"  {name.removeprefix('cost_').replace('_', ' ')}"
        rows.append((title, _span(stages[:, 0]), _span(stages[:, 1])))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        yield "  ".join(part.ljust(width) for part, width in zip(row, widths, strict=True)).rstrip()
    before, after = np.atleast_2d(data["cost"].values).T
    fell = (1 - after / np.where(before > 0, before, np.nan)) * 100
    if np.isfinite(fell).any():
        yield f"J fell by {_span(fell, '.2g')} %"
    if configuration.dynamics is not None:
        # The images of xvar's own faults are compared in a norm whose expectation nobody knows.
        count = np.atleast_1d(data["number_of_observations"].values)
        ratio = 2 * after / np.where(count > 0, count, np.nan)
        if np.isfinite(ratio).any():
            words = "about 1 where all errors are as large as was stated; far above, they are larger or J is not lowest"
            yield f"2 J over the number of observations: {_span(ratio, '.3g')} ({words})"


def _observations(data: xr.Dataset) -> Iterator[str]:
    for name in ("evaluations", "number_of_observations"):
        if name in data:
            yield f"{name.replace('_', ' ')} in a window: {_span(data[name].values, ',.0f')}"
    rejected = data.get("number_of_rejected_observations")
    if rejected is not None and (rejected.values > 0).any():
        yield f"values taken as missing in a window, for gross errors: {_span(rejected.values, ',.0f')}"
    if "observation_quality" in data:
        quality = data["observation_quality"]
        words = str(quality.attrs["flag_meanings"]).split()
        counts = [(word, int((quality.values == code).sum())) for code, word in enumerate(words)]
        yield "observations: " + ", ".join(f"{count} {word.replace('_', ' ')}" for word, count in counts if count)


def _motion(data: xr.Dataset) -> Iterator[str]:
    if {"u", "v"} <= set(data.data_vars):
        speed = np.hypot(data["u"].values, data["v"].values)
        speed = speed[np.isfinite(speed)]
        if speed.size:
            low, middle, high = np.percentile(speed, [5, 50, 95])
            yield f"speed: {middle:.3g} m/s, 5 to 95 % of the points {low:.3g} to {high:.3g} m/s"
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
        yield "- growth and decay, found from the newest pair of frames, go into the forecast"
    if "source" in data:
        yield "- a smooth source beside the motion: what warms or cools is no motion"
    yield from (f"- {note}" for note in configuration.notes)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _listed(which: NDArray[np.intp]) -> str:
    more = f" and {which.size - LISTED} more" if which.size > LISTED else ""
    return f"window{'s' if which.size > 1 else ''} " + ", ".join(str(index) for index in which[:LISTED]) + more


def _duration(seconds: float) -> str:
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g} {unit}"
    return f"{seconds:g} s"


def _moment(value: object) -> str:
    return str(value).partition(".")[0]


def _span(values: Any, form: str = ".4g") -> str:
    numbers = np.atleast_1d(np.asarray(values, dtype=float))
    numbers = numbers[np.isfinite(numbers)]
    if not numbers.size:
        return "unknown"
    low, high = format(numbers.min(), form), format(numbers.max(), form)
    return low if low == high else f"{low} to {high}"
