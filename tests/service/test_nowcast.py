"""The last window of a record: analysis, forecast and probabilities in one Dataset, with recent skill."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import xvar
from tests.cf.strict import strict_cf
from tests.faults.codes import codes
from tests.runs.records import same
from xvar.errors import InputError
from xvar.io.writing import write

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def radar() -> Any:
    return xvar.datasets.sample().isel(y=slice(20, 84), x=slice(40, 104))


@pytest.fixture(scope="module")
def whole(radar) -> xr.Dataset:
    return xvar.nowcast(radar, "15min", members=4, seed=3, above=(1, 5))


def test_it_is_the_forecast_of_the_last_window(radar, whole) -> None:
    analysis = radar.isel(time=slice(-4, None)).var4d.assimilate()
    forecast = analysis.var4d.forecast("15min")
    assert same(forecast, whole) == []
    assert np.array_equal(whole["time"], forecast["time"])
    names = {name for name in analysis.data_vars if "step" not in analysis[name].dims}
    assert same(analysis[list(names)], whole) == []
    for name in ("u", "v"):
        assert np.array_equal(whole[name], analysis[name].isel(step=-1))
    assert np.array_equal(whole["frame_time"], analysis["time"])
    assert (whole["observed_share"] == 1).all()


def test_the_probabilities_are_those_of_the_members(radar, whole) -> None:
    analysis = radar.isel(time=slice(-4, None)).var4d.assimilate()
    members = analysis.var4d.forecast("15min", members=4, seed=3)
    assert same(members.var4d.probability((1, 5)), whole) == []
    assert "member" not in whole.dims
    again = whole.var4d.probability(5)
    assert again.equals(again.var4d.probability(5))
    assert same(members.var4d.probability(5), again) == []
    with pytest.raises(InputError) as error:
        whole.var4d.probability(2)
    assert codes(error.value) == ["threshold-not-stored"]


def test_the_recent_skill_is_that_of_the_forecast_from_the_earlier_window(radar, whole) -> None:
    before = radar.isel(time=slice(0, 4)).var4d.assimilate().var4d.forecast("15min")
    scores = before.var4d.verify(radar, thresholds=(1, 5))
    for name in ("rmse", "rmse_persistence", "bias", "csi", "csi_persistence"):
        np.testing.assert_array_equal(whole[f"recent_{name}"], scores[name])
    assert whole["recent_reference_time"].values == radar["time"].values[3]


def test_a_short_record_has_no_recent_skill(radar) -> None:
    found = xvar.nowcast(radar.isel(time=slice(0, 4)), "5min")
    assert not [name for name in found.variables if str(name).startswith("recent_")]
    assert xvar.nowcast(radar.isel(time=slice(0, 2)), "5min").sizes["step"] == 2


def test_a_missing_frame_is_one_without_values(radar) -> None:
    found = xvar.nowcast(radar.isel(time=[0, 1, 2, 3, 4, 6]), "10min", hindcast=False)
    expected = radar.isel(time=slice(-4, None)).copy(deep=True)
    expected["rain"] = expected["rain"].where(expected["time"] != expected["time"][2])
    assert same(expected.var4d.assimilate().var4d.forecast("10min"), found) == []
    assert found["observed_share"].values.tolist() == [[1, 1, 0, 1]]
    assert np.array_equal(found["frame_time"][0], radar["time"][-4:])


def test_frames_before_a_gap_can_be_left_out(radar) -> None:
    gapped = radar.isel(time=[0, 1, 2, 3, 5, 6])
    across = xvar.nowcast(gapped, "5min", hindcast=False)
    behind = xvar.nowcast(gapped, "5min", hindcast=False, gaps="split")
    assert across["observed_share"].values.tolist() == [[1, 0, 1, 1]]
    assert behind["observed_share"].values.tolist() == [[0, 0, 1, 1]]
    assert same(xvar.nowcast(gapped.isel(time=[4, 5]), "5min", window=4, hindcast=False), behind) == []
    assert "2 of 4 frames of the window have no values" in behind.attrs["xvar_configuration"]


def test_the_cadence_can_be_stated_where_frames_are_missing(radar) -> None:
    found = xvar.nowcast(radar.isel(time=[0, 2, 4, 6]), "10min", cadence="5min", hindcast=False)
    assert found["observed_share"].values.tolist() == [[0, 1, 0, 1]]
    assert found.sizes["lead_time"] == 2


def test_order_laziness_and_the_rest_of_the_record_are_of_no_effect(radar, whole) -> None:
    pytest.importorskip("dask")
    shuffled = radar.isel(time=[3, 1, 0, 6, 2, 5, 4]).chunk({"time": 1})
    assert same(xvar.nowcast(shuffled, "15min", members=4, seed=3, above=(1, 5)), whole) == []


def test_a_window_as_a_duration(radar) -> None:
    found = xvar.nowcast(radar, "5min", window="10min", hindcast=False)
    assert same(found, xvar.nowcast(radar["rain"], "5min", window=3, hindcast=False)) == []


def test_a_nowcast_is_a_first_guess(radar) -> None:
    before = xvar.nowcast(radar.isel(time=slice(0, -1)), "5min", hindcast=False)
    cold, warm = (xvar.nowcast(radar, "5min", hindcast=False, first_guess=one) for one in (None, before))
    assert warm["evaluations"].item() < 0.8 * cold["evaluations"].item()


def test_it_is_written_by_the_rules_of_cf_and_read_back(whole, tmp_path) -> None:
    pytest.importorskip("compliance_checker")
    path = write(whole, tmp_path / "nowcast.nc")
    code, text = strict_cf(path)
    assert code == 0, text
    with xr.open_dataset(path) as written:
        assert same(whole, written) == []


def test_pictures_take_a_nowcast(whole, radar) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    assert "23:15" in whole.var4d.plot.motion().get_title("left")
    whole.var4d.plot.forecast()
    whole.var4d.plot.probability(above=1)
    pyplot.close("all")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"stride": 1}, "unknown-option"),
        ({"windw": 4}, "unknown-option"),
        ({"cadence": "soon"}, "duration-invalid"),
        ({"lead": "1min"}, "lead-too-short"),
        ({"window": "soon"}, "duration-invalid"),
        ({"variable": "snow"}, "unknown-variable"),
    ],
)
def test_what_is_wrong_is_refused(radar, options, code) -> None:
    with pytest.raises(InputError) as info:
        xvar.nowcast(radar, **{"lead": "5min", **options})
    assert codes(info.value) == [code]
