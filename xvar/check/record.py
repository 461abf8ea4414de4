"""Examination of a record and of the configuration of a call, before anything is analysed."""

from __future__ import annotations

import json
import warnings
from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr

from xvar.cf.record import Record
from xvar.check.conformance import Report, dynamics
from xvar.check.covariance import covariance
from xvar.check.twin import twin_report
from xvar.check.understanding import facts
from xvar.errors import Fault, Faults, InputError, InputWarning
from xvar.execution.dispatch import deferred
from xvar.plan.covariances import errors_by_component
from xvar.plan.method import choose_method
from xvar.plan.options import Options
from xvar.plan.source import read_source

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
    reports: tuple[Report, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Return whether there is no fault and every test passed."""
        return not self.faults and all(report.passed for report in self.reports)

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        """Return the text, for a notebook or a prompt."""
        return str(self)

    def __str__(self) -> str:
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
        return json.dumps(
            {
                "passed": self.passed,
                "facts": dict(self.facts),
                "faults": [str(fault) for fault in self.faults],
                "warnings": list(self.warnings),
                "reports": reports,
            }
        )


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
    faults = Faults()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", InputWarning)
        known: dict[str, Any] = {}
        try:
            chosen = Options.read(options, Faults())
            _, found = read_source(data, variable, chosen, faults)
            faults.raise_if_any()
            assert found is not None
            known = facts(found, chosen)
            _refuse_as_assimilate_does(data, variable, options)
            reports = _reports(found, chosen, options)
        except InputError as error:
            return Examination(known, error.faults, _texts(caught))
    return Examination(known, (), _texts(caught), reports)


def _refuse_as_assimilate_does(
    data: xr.Dataset | xr.DataArray, variable: Hashable | None, options: Mapping[str, Any]
) -> None:
    """Make the call up to the solve of its windows: it raises InputError if it cannot be done."""
    from xvar.assimilation import assimilate

    with deferred(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the warnings of reading are recorded already
        assimilate(data, variable, **options)


def _reports(record: Record, chosen: Options, options: Mapping[str, Any]) -> tuple[Report, ...]:
    """Return the tests of the stated errors, and of the model or of the method."""
    method = choose_method(chosen, record.kind, Faults())
    reports = _covariance_reports(record, options)
    if method == "model" and not hasattr(chosen.dynamics, "bind"):
        return reports + _model_report(chosen.dynamics, chosen.background)
    return (*reports, twin_report(record, {**options, "method": method}))


def _texts(caught: list[warnings.WarningMessage]) -> tuple[str, ...]:
    return tuple(str(one.message) for one in caught if issubclass(one.category, InputWarning))


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
    background = options.get("background")
    names = () if not isinstance(background, xr.Dataset) else tuple(map(str, background.data_vars))
    motion = not callable(options.get("dynamics"))
    components: dict[str, tuple[str, ...]] = {"velocity": ("u", "v"), "tracer": (str(record.name),)} if motion else {}
    components |= {} if motion else {name: (name,) for name in names}
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
