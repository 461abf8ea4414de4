"""Warnings about the windows of a finished run, as `assimilate` gives them of an analysis in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from xvar.cf.times import date_text
from xvar.errors import InputWarning, warn
from xvar.plan.pipeline import warn_about_windows
from xvar.quality.control import warn_of_artefacts
from xvar.quality.rules import RULES
from xvar.runs.report import Report

NUMBERS = ("status", "evaluations", "gradient_norm", "deformation_number")


def warn_of_outcome(report: Report, path: Path | None = None) -> None:
    """Warn about windows that did not converge, whose trajectories cross, and about values taken as missing.

    `path` is where the results of the run are, if they are not at that of the report.
    """
    place = report.path if path is None else path
    with xr.open_dataset(place) if place.is_file() else xr.open_zarr(place) as analysis:
        arrays = {name: analysis[name].values for name in NUMBERS if name in analysis}
        times = analysis["time"].values if "time" in analysis else None
        rejected = analysis.get("rejected_observations")
        counts = None if rejected is None else rejected.transpose("window", "rule").values
        rules = () if rejected is None else tuple(RULES[int(number)] for number in rejected["rule"].values)

    def name(window: int) -> str:
        if times is None:
            return f"window {window}"
        known = [time for time in times[window] if time == time]  # NaT of windows with fewer frames
        return f"window {window} ({date_text(known[0])} to {date_text(known[-1])})"

    if counts is not None:
        warn_of_artefacts(counts, rules, name)
        for rule, column in zip(rules, counts.T, strict=True):
            windows = np.flatnonzero(column)
            if windows.size and not rule.artefact:
                text = (
                    f"{rule.name} took {column.sum()} values as missing ({rule.doc}) in {windows.size} of {len(column)}"
                )
                warn(f"{text} windows, the first {name(int(windows[0]))}", InputWarning)
    warn_about_windows(arrays, name)
