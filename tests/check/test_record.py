"""The check of a record: from Python, on a DataTree, and in the shell."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import xarray as xr

import xvar
from tests.faults.codes import raised
from tests.faults.images import in_degrees, rainy, warm, with_values
from xvar.check import describe
from xvar.cli import application
from xvar.covariance import Helmholtz

TESTS = (
    "the images hold a pattern",
    "a known motion is recovered",
    "the same call twice, the same bits",
    "a window alone, as in a batch",
    "the gradient of J, by differences",
)


def holed() -> xr.Dataset:
    record = warm(7, 48)
    record["sst"][2, 5:15, 20:30] = np.nan
    record["sst"][:, :8, :8] = np.nan
    return record


@pytest.mark.parametrize(
    "record", [lambda: warm(4, 48), lambda: rainy(5, 64), holed, lambda: warm(4, 48).isel(y=slice(None, None, -1))]
)
def test_a_good_record_passes(record) -> None:
    examination = record().var4d.check()
    assert examination, str(examination)
    assert repr(examination) == str(examination)
    (report,) = examination.reports
    assert tuple(row.name for row in report.rows) == TESTS
    for word in ("passed", "spacing", " m, dx ", "cadence", "ok "):
        assert word in str(examination)


def test_facts_are_those_of_the_record() -> None:
    facts = in_degrees(48 + 0.01 * np.arange(24), 0.01 * np.arange(24)).var4d.check().facts
    assert facts["axes"] == "time 'time', y 'y', x 'x'"
    assert facts["units"] == "degree_Celsius"
    assert facts["cadence"] == "120 s"
    assert facts["gaps"] == "none"
    assert facts["missing"] == "0.00% of the values"
    assert describe(warm().chunk(time=1))["missing"].startswith("not counted")
    assert describe(with_values(warm(), lambda values: values.astype(int)))["missing"].startswith("none")
    irregular = warm(7).isel(time=[0, 1, 2, 3, 6])
    assert describe(irregular)["gaps"] == "2020-01-01T00:06:00 to 2020-01-01T00:12:00 (between windows)"
    assert describe(irregular)["cadence"] == "120 s, from 120 to 360 s"


def test_facts_and_summary_say_why_the_kind_and_the_method_were_chosen() -> None:
    sea, air = warm(), with_values(warm(), lambda values: values + 273).rename(sst="t2m")
    air["t2m"].attrs = {"units": "K", "standard_name": "air_temperature"}
    for record, kind, reason, method in (
        (sea, "sea_temperature", "by ", "currents"),
        (air, "temperature", "by standard_name 'air_temperature', no evidence of a sea", "image_motion"),
    ):
        known = describe(record)
        assert known["kind"] == kind
        assert known["method"].startswith(f"{method}, the default for {kind}")
        assert known["notes"][0].startswith(f"kind: {kind}, {reason}")
        analysis = record.var4d.assimilate()
        for line in (f"method: {method}", f"- {known['notes'][0]}"):
            assert line in analysis.var4d.summary().splitlines()
    assert 'method="currents"' in describe(air)["notes"][0]
    stated = air.var4d.check(method="currents").facts
    assert stated["method"].startswith("currents, as stated by method=")
    assert stated["kind"] == "temperature"


def test_what_stands_in_the_way_is_told_and_not_raised() -> None:
    record = warm().drop_vars("x")
    del record["sst"].attrs["units"]
    examination = record.var4d.check()
    assert not examination
    assert len(examination.faults) == 2
    assert "PROBLEM variable 'sst'" in str(examination)
    assert not with_values(warm(), lambda values: 0 * values).var4d.check().passed
    options = warm().var4d.check(dtype="float16")
    assert "float16" in str(options.faults[0])
    raised(lambda: warm().var4d.check(windw=3), "unknown-option")


def test_a_prior_that_holds_the_motion_down_is_found() -> None:
    stiff = xvar.covariance.Diagonal(std=1e-9)
    examination = warm(4, 48).var4d.check(background_error=stiff)
    assert not examination.passed
    by_subject = {report.subject.partition(",")[0]: report for report in examination.reports}
    assert by_subject["background_error of 'velocity'"].passed
    failed = [row.name for row in by_subject["configuration"].rows if not row.passed]
    assert failed == ["a known motion is recovered"]
    assert "a larger background error would recover more" in str(examination)
    good = warm(4, 48).var4d.check(
        background_error=Helmholtz(std=3.0, length=20e3, mean_std=10.0), observation_error=0.05, dtype="float64"
    )
    assert good.passed, str(good)
    flat = with_values(warm(4, 48), lambda values: np.round(values / 40) * 40)
    (report,) = flat.var4d.check().reports
    assert not report.passed
    assert "no motion to be seen" in str(report)


def test_a_model_of_ones_own_is_checked_at_the_background() -> None:
    background = warm()["sst"].isel(time=0, drop=True).to_dataset()
    error = xvar.covariance.Diagonal(std=1.0)
    right, wrong = (
        warm().var4d.check(dynamics=model, background=background, background_error={"sst": error})
        for model in (
            lambda state, seconds: {"sst": 0.9 * state["sst"]},
            lambda state, seconds: {"sst": state["sst"].detach() * state["sst"]},
        )
    )
    assert right.passed
    assert not wrong.passed
    assert "autograd does not see" in str(wrong)
    assert torch.is_grad_enabled()
    without = warm().var4d.check(dynamics=lambda state, seconds: state, background=background)
    assert without.faults[0].code == "background-error-missing"  # as the call itself would say


def test_warnings_are_part_of_it() -> None:
    record = with_values(warm(4, 48), lambda values: np.where(np.arange(48) == 5, np.inf, values))
    examination = record.var4d.check()
    assert any("infinite values" in warning for warning in examination.warnings)
    assert "warning: variable 'sst'" in str(examination)


def test_a_tree_with_one_record() -> None:
    tree = xr.DataTree.from_dict({"/radar/low": warm(4, 48), "/": xr.Dataset(attrs={"title": "a volume"})})
    xr.testing.assert_equal(tree.var4d.assimilate()["u"], warm(4, 48).var4d.assimilate()["u"])
    assert tree.var4d.check().passed
    both = xr.DataTree.from_dict({"/low": warm(), "/high": warm()})
    raised(both.var4d.assimilate, "ambiguous-group", names="/low, /high")


def run(*words: object):
    import warnings

    from typer.testing import CliRunner

    with warnings.catch_warnings():
        return CliRunner().invoke(application, [str(word) for word in words])


def test_the_shell(tmp_path) -> None:
    warm(4, 48).to_netcdf(tmp_path / "warm.nc")
    done = run("check", tmp_path / "warm.nc")
    assert done.exit_code == 0, done.output
    assert "a known motion is recovered" in done.stdout
    facts = json.loads(run("check", tmp_path / "warm.nc", "--json").stdout)
    assert facts["passed"]
    assert [test["name"] for test in facts["reports"][0]["tests"]] == list(TESTS)
    with_values(warm(), lambda values: 0 * values).to_netcdf(tmp_path / "flat.nc")
    assert run("check", tmp_path / "flat.nc").exit_code == 1
    warm().drop_vars("x").to_netcdf(tmp_path / "bare.nc")
    done = run("check", tmp_path / "bare.nc", "--json")
    assert done.exit_code == 2
    assert "dx=..., dy=..." in json.loads(done.stdout)["faults"][0]


def test_groups_of_a_file(tmp_path) -> None:
    xr.DataTree.from_dict({"/radar/low": warm(), "/radar/high": warm()}).to_netcdf(tmp_path / "volume.nc")
    done = run("check", tmp_path / "volume.nc")
    assert done.exit_code == 2
    for word in ("radar/low, radar/high", "--group radar/low"):
        assert word in done.stderr
    done = run("assimilate", tmp_path / "volume.nc", "--group", "radar/low", "-o", tmp_path / "analysis.nc")
    assert done.exit_code == 0, done.output
    with xr.open_dataset(tmp_path / "analysis.nc") as analysis:
        xr.testing.assert_equal(analysis["u"], warm().var4d.assimilate()["u"])
