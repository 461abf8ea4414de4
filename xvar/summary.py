"""An analysis in a few lines."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xvar.cf.metadata import STATUS
from xvar.configuration import ATTRIBUTE, Configuration
from xvar.errors import InputError, Problem


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
        Status and cost of the windows, their evaluations and observations, the speeds in m/s, and the choices that the
        call made.

    Raises
    ------
    InputError
        Where `data` is no analysis.
    """
    text = data.attrs.get(ATTRIBUTE)
    if text is None or "status" not in data:
        raise InputError(
            Problem("a Dataset that is no analysis", "what assimilate() gives", "ds.var4d.assimilate().var4d.summary()")
        )
    configuration = Configuration.from_json(text)
    status = np.atleast_1d(data["status"].values)
    counts = [f"{int((status == code).sum())} {word}" for code, word in enumerate(STATUS) if (status == code).any()]
    windows = f"{status.size} window{'s' if status.size > 1 else ''} of {data.sizes.get('step', 1)} frames"
    lines = [f"{configuration.variable} ({configuration.kind}), {windows}: {', '.join(counts)}"]
    times = data["time"].values.ravel()
    times = times[~np.isnat(times)] if times.dtype.kind == "M" else times[times != np.array(None)]
    lines.append(f"times: {_moment(times.min())} to {_moment(times.max())}, a frame each {configuration.frame:g} s")
    for name in (str(key) for key in data.data_vars if str(key).startswith("cost")):
        before, after = (np.atleast_2d(data[name].transpose(..., "stage").values)[:, stage] for stage in (0, 1))
        lines.append(f"{name.replace('_', ' ')}: {_span(before)} at the background, {_span(after)} at the analysis")
    counted = [name for name in ("evaluations", "number_of_observations") if name in data]
    lines += [f"{name.replace('_', ' ')}: {_span(data[name].values)} in a window" for name in counted]
    if {"u", "v"} <= set(data.data_vars):
        speed = np.hypot(data["u"].values, data["v"].values)
        speed = speed[np.isfinite(speed)]
        if speed.size:
            low, middle, high = np.percentile(speed, [5, 50, 95])
            lines.append(f"speed: {middle:.3g} m/s, 5 to 95 % of the points {low:.3g} to {high:.3g} m/s")
    chosen = [f"compared as {configuration.transform.replace('_', ' ')}"] if configuration.transform != "none" else []
    if "growth" in data:
        chosen.append("growth and decay at the end of the window")
    lines.append("chosen: " + "; ".join([*chosen, configuration.dtype, *configuration.notes]))
    return Summary("\n".join(lines))


def _moment(value: object) -> str:
    return str(value).partition(".")[0]


def _span(values: object) -> str:
    numbers = np.atleast_1d(np.asarray(values, dtype=float))
    numbers = numbers[np.isfinite(numbers)]
    if not numbers.size:
        return "unknown"
    low, high = float(numbers.min()), float(numbers.max())
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
