"""Description of a record, and examination of it and of the configuration of a call, before anything is analysed."""

from __future__ import annotations

import json
import warnings
from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import is_lazy
from xvar.cf.record import Record
from xvar.cf.times import date_text
from xvar.check.conformance import Report, covariance, dynamics
from xvar.check.twin import twin_report
from xvar.errors import Fault, Faults, InputError, InputWarning
from xvar.execution.dispatch import deferred
from xvar.plan.control import errors_by_component, read_background
from xvar.plan.method import choose_method, explain_method
from xvar.plan.option import STATES
from xvar.plan.options import Options
from xvar.plan.planning import read_source
from xvar.plan.windows import Windows, count_across, find_gaps, read_windows

TRIED = 32  # points a side of the grid on which a covariance is tested


@dataclass(frozen=True)
class Examination:
    """Result of `record`; true if nothing prevents the analysis and every test passed.

    Attributes
    ----------
    facts : mapping of str to str or list
        The record as it was read; empty if it cannot be read.
    faults : tuple of Fault
        Faults of the input and the options, each with its fix.
    warnings : tuple of str
        Values that are used otherwise than the file states them.
    reports : tuple of Report
        Tests of the configuration.
    """

    facts: Mapping[str, Any]
    faults: tuple[Fault, ...] = ()
    warnings: tuple[str, ...] = ()
    reports: tuple[Report, ...] = ()

    @property
    def passed(self) -> bool:
        """Return whether there is no fault and every test passed."""
        return not self.faults and all(report.passed for report in self.reports)

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        width = max((len(name) for name in self.facts), default=0)
        lines = [f"{'passed' if self.passed else 'failed'}"]
        for name, value in self.facts.items():
            parts = value if isinstance(value, list) else [value]
            lines += [f"  {name if not index else '':{width}}  {part}" for index, part in enumerate(parts)]
        lines += [f"  warning: {text}" for text in self.warnings]
        lines += [f"  PROBLEM {fault}" for fault in self.faults]
        return "\n".join([*lines, *(str(report) for report in self.reports)])

    def to_json(self) -> str:
        """Return the examination for programs."""
        reports = [
            {"subject": report.subject, "passed": report.passed, "tests": [asdict(row) for row in report.rows]}
            for report in self.reports
        ]
        faults = [str(fault) for fault in self.faults]
        parts = {"facts": dict(self.facts), "faults": faults, "warnings": list(self.warnings), "reports": reports}
        return json.dumps({"passed": self.passed, **parts})


def record(data: xr.Dataset | xr.DataArray, variable: Hashable | None = None, **options: Any) -> Examination:
    """Examine a record, and whether the configuration of a call can find a motion in it.

    Parameters
    ----------
    data, variable, **options
        As for `xvar.assimilation.assimilate`.

    Returns
    -------
    Examination
        The record as it was read, or the faults that prevent it. Then, of a twin experiment (images of the record's own
        pattern, moved by a known motion of at most 1.5 cells in a frame, on its spacing and cadence, with its missing
        values): the share of the motion that is recovered, the same call twice, a window alone and in a batch, and the
        gradient of J against differences. Stated errors are tested as by `covariance`, on the spacing of the record; a
        model of your own as by `dynamics`, at the background. Faults that `assimilate` would raise are reported.

    Examples
    --------
    >>> import xvar, xvar.check
    >>> examination = xvar.check.record(xvar.datasets.sample())
    >>> examination.passed
    True
    """
    from xvar.assimilation import assimilate

    faults = Faults()
    known: dict[str, Any] = {}
    found: tuple[Fault, ...] = ()
    reports: tuple[Report, ...] = ()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", InputWarning)
        try:
            chosen = Options.read(options, Faults())
            _, read = read_source(data, variable, chosen, faults)
            read = faults.require(read)
            known = facts(read, chosen)
            with deferred(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the warnings of reading are recorded already
                assimilate(data, variable, **options)  # up to the solve of its windows: it raises what prevents it
            reports = _reports(read, chosen, options)
        except InputError as error:
            found = error.faults
    texts = tuple(str(one.message) for one in caught if issubclass(one.category, InputWarning))
    return Examination(known, found, texts, reports)


def _reports(record: Record, chosen: Options, options: Mapping[str, Any]) -> tuple[Report, ...]:
    """Return the tests of the stated errors, and of the model or of the method."""
    method = choose_method(chosen, record.kind, Faults())
    reports = _covariance_reports(record, options)
    if method == "model" and not hasattr(chosen.dynamics, "bind"):
        return reports + _model_report(chosen.dynamics, read_background(chosen.background)[1])
    return (*reports, twin_report(record, {**options, "method": method}))


def _model_report(model: Any, background: Any) -> tuple[Report, ...]:
    """Test the user's model at the background, in double precision, on two windows that differ a little."""
    if not isinstance(background, xr.Dataset) or not callable(model):
        return ()
    import torch

    state = {}
    for name, part in background.data_vars.items():
        one = torch.from_numpy(np.array(part.squeeze(drop=True).values, dtype="float64"))[None, None]
        state[str(name)] = torch.cat([one, 1.01 * one])
    return (dynamics(model, state),)


def _covariance_reports(record: Record, options: Mapping[str, Any]) -> tuple[Report, ...]:
    """Test the stated errors on the spacing of the record, on a corner of its grid."""
    faults = Faults()
    _, background = read_background(options.get("background"))
    components: dict[str, tuple[str, ...]] = {"velocity": ("u", "v"), "tracer": (str(record.name),)}
    dynamics = options.get("dynamics")
    if callable(dynamics) and not hasattr(dynamics, "bind"):
        names = map(str, background.data_vars) if isinstance(background, xr.Dataset) else ()
        components = {name: (name,) for name in names}
    reports = []
    for option in ("background_error", "model_error"):
        given = getattr(options.get(option), "covariance", options.get(option))
        for key, part in errors_by_component(given, option, components, faults).items():
            if faults.first is None and not hasattr(part, "members"):  # an ensemble is positive as it is made
                shape = tuple(min(size, TRIED) for size in record.grid.shape)
                report = covariance(part, shape, record.grid.spacing, components=len(components[key]))
                reports.append(replace(report, subject=f"{option} of {key!r}"))
    faults.raise_if_any()
    return tuple(reports)


def describe(
    data: xr.Dataset | xr.DataArray,
    variable: Hashable | None = None,
    *,
    land: Any = None,
    units: str | None = None,
    dx: float | None = None,
    dy: float | None = None,
    sort: bool = False,
    strict: bool = False,
) -> dict[str, Any]:
    """Describe the record that would be assimilated: variable, axes, spacing, units, times and gaps, missing values.

    Parameters
    ----------
    data, variable, land, units, dx, dy, sort, strict
        As for `xvar.assimilation.assimilate`.

    Returns
    -------
    dict
        Words and numbers by the name of the fact.

    Raises
    ------
    InputError
        With all faults of the record.
    """
    faults = Faults()
    stated = {"land": land, "units": units, "dx": dx, "dy": dy, "sort": sort, "strict": strict}
    options = Options.read(stated, faults)
    _, record = read_source(data, variable, options, faults)
    return facts(faults.require(record), options)


def facts(record: Record, options: Options) -> dict[str, Any]:
    """Describe a record that was read, and the method of a call; raise InputError if it holds no window."""
    faults = Faults()
    seconds, times = record.times.seconds, record.times.values
    has_state = choose_method(options, record.kind, Faults()) in STATES
    default = Options.read({}, faults)
    windows = faults.require(read_windows(seconds, record.axes.time, default, faults, has_state=has_state))
    schedule, steps, gaps = windows.schedule, np.diff(seconds), find_gaps(seconds, record.cadence)
    uneven = "" if np.ptp(steps) <= 1e-3 * record.cadence else f", from {steps.min():g} to {steps.max():g} s"
    lines = _gap_lines(windows, times, gaps)
    directions = ["ascending" if up else "descending" for up in record.grid.ascending]
    axes, shape = record.axes.places, record.grid.shape
    grid = (
        f"{shape[0]} rows x {shape[1]} columns, {record.grid.kind}" if record.is_plane else " x ".join(map(str, shape))
    )
    units = " m" if record.is_plane else ""
    spacing = [f"d{key} {length:.6g}{units}" for key, length in zip(axes, record.grid.spacing, strict=True)]
    return {
        "variable": str(record.name),
        "kind": record.kind,
        "method": explain_method(options, record.kind),
        "units": record.units,
        "axes": ", ".join([f"time {record.axes.time!r}", *(f"{key} {dim!r}" for key, dim in axes.items())]),
        "grid": grid,
        "spacing": ", ".join([*spacing, record.grid.description]),
        "orientation": ", ".join(f"{key} {direction}" for key, direction in zip(axes, directions, strict=True)),
        "frames": f"{seconds.size}, from {date_text(times[0])} to {date_text(times[-1])}",
        "cadence": f"{record.cadence:g} s{uneven}",
        "gaps": ", ".join(lines) or "none",
        "missing": _missing(record),
        "windows": f"{len(schedule.frames)} of {schedule.frames.shape[1]} frames by default",
        "notes": list(record.notes),
    }


def _gap_lines(windows: Windows, times: NDArray[Any], gaps: NDArray[np.intp]) -> list[str]:
    """Describe gaps, and the windows that go across them; of many the first."""
    lines = []
    for place, across in zip(gaps[:5].tolist(), count_across(windows.schedule, gaps).tolist(), strict=False):
        words = f"in {across} windows" if across > 1 else "in 1 window" if across else "between windows"
        lines.append(f"{date_text(times[place])} to {date_text(times[place + 1])} ({words})")
    if len(gaps) > 5:
        lines.append(f"and {len(gaps) - 5} more")
    return lines


def _missing(record: Record) -> str:
    if is_lazy(record.array):
        return "not counted: the values are not in memory"
    if record.array.dtype.kind != "f":
        return "none: the values are integers"
    return f"{np.isnan(record.array.values).mean():.2%} of the values"
