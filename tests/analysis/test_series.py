"""One record (time, y, x) from the windows of an analysis."""

from __future__ import annotations

import numpy as np
import pytest

import xvar
from tests.cf.strict import strict_cf
from tests.faults.codes import codes
from tests.records import analysis, storm
from xvar.errors import InputError


@pytest.mark.parametrize(("shared", "window"), [("last", 1), ("first", 0)])
def test_each_time_once_and_shared_frames_by_rule(shared, window) -> None:
    record = analysis().var4d.series(shared=shared)
    np.testing.assert_array_equal(record["time"], xvar.datasets.sample()["time"])
    assert record["rain"].dims == ("time", "y", "x")
    expected = [0, 0, 0, window, 1, 1, 1]
    np.testing.assert_array_equal(record["window"], expected)
    for index, (own, step) in enumerate(zip(expected, [0, 1, 2, 0 if window else 3, 1, 2, 3], strict=True)):
        for name in ("rain", "u", "v"):
            np.testing.assert_array_equal(record[name][index], analysis()[name][own, step])
        for name in ("u_steady", "v_steady"):
            np.testing.assert_array_equal(record[name][index], analysis()[name][own])


def test_windows_that_failed_are_left_out() -> None:
    result = analysis().copy(deep=True)
    result["status"][1] = 5
    record = result.var4d.series()
    assert record.sizes["time"] == 4
    np.testing.assert_array_equal(record["window"], 0)
    result["status"][:] = 0
    with pytest.raises(InputError) as error:
        result.var4d.series()
    assert codes(error.value) == ["no-result"]


def test_partial_windows_and_gaps() -> None:
    record = storm(frames=7)
    kept = record.var4d.assimilate(window=5, partial="keep").var4d.series()
    np.testing.assert_array_equal(kept["time"], record["time"])
    assert np.isfinite(kept["u"]).all()


def test_a_series_can_be_assimilated_again() -> None:
    record = storm(frames=7, rows=80, columns=68).var4d.assimilate().var4d.series()
    again = record.var4d.assimilate("rain")
    assert (again["status"] == 1).all()


def test_the_file_is_strict_cf(tmp_path) -> None:
    analysis().var4d.series().to_netcdf(tmp_path / "series.nc")
    status, words = strict_cf(tmp_path / "series.nc")
    assert status == 0, words


def test_a_record_and_an_unknown_choice_are_refused() -> None:
    for data, shared, code in ((storm(), "last", "not-an-analysis"), (analysis(), "both", "unknown-choice")):
        with pytest.raises(InputError) as error:
            data.var4d.series(shared=shared)
        assert codes(error.value) == [code]
