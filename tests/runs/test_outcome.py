"""What a run reports of its windows, as a call in memory does."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from typer.testing import CliRunner

import xvar
from tests.runs.records import shower
from xvar.cli import application
from xvar.core.minimize import LBFGS
from xvar.errors import AnalysisWarning, InputWarning
from xvar.runs.outcome import warn_of_outcome


def test_windows_that_did_not_converge_are_named_as_in_memory(tmp_path) -> None:
    options = {"window": 4, "minimizer": LBFGS(max_evaluations=2)}
    report = xvar.run(shower(), tmp_path / "a.nc", **options)
    with pytest.warns(AnalysisWarning) as stored:
        warn_of_outcome(report)
    with pytest.warns(AnalysisWarning) as known:
        shower().var4d.assimilate(**options)
    assert [str(one.message) for one in stored] == [str(one.message) for one in known]


def test_a_run_without_faults_is_silent(tmp_path) -> None:
    report = xvar.run(xvar.datasets.sample(), tmp_path / "a.nc")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_outcome(report)


def test_the_shell_shows_the_values_that_were_taken_as_missing(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    radar = xvar.datasets.sample().drop_vars("valid").isel(y=slice(20, 60), x=slice(40, 80))
    radar["rain"] = radar["rain"].astype("f4")
    radar["rain"].values[2, :4, :4] = np.inf
    radar.to_netcdf("radar.nc")
    with pytest.warns(InputWarning):
        expected = radar.var4d.assimilate()
    with warnings.catch_warnings():
        done = CliRunner().invoke(application, ["assimilate", "radar.nc", "-o", "a.nc"])
    assert done.exit_code == 0, done.output
    count = int(expected["number_of_rejected_observations"].sum())
    assert count == 16
    assert f"xvar: warning: infinite took {count} values as missing" in done.stderr
