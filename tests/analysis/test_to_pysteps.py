"""Motion in the signs and units of pysteps."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xvar
from tests.records import drifting
from xvar.analysis.to_pysteps import pysteps_motion


def test_displacements_are_pixels_of_the_stored_image() -> None:
    analysis = xvar.datasets.sample().var4d.assimilate()
    last = analysis.isel(window=0, step=-1)
    for options, (u, v) in (({}, ("u_steady", "v_steady")), ({"part": "total"}, ("u", "v"))):
        columns, rows = analysis.var4d.to_pysteps(window=0, **options)
        np.testing.assert_allclose(columns, last[u] * 300 / 1200, rtol=1e-6)
        np.testing.assert_allclose(rows, -last[v] * 300 / 1200, rtol=1e-6)  # y descends along the rows


def test_rows_are_in_the_order_of_the_image() -> None:
    radar = xvar.datasets.sample().isel(time=slice(0, 4))
    columns, rows = radar.var4d.assimilate().var4d.to_pysteps()
    turned_columns, turned_rows = radar.isel(y=slice(None, None, -1)).var4d.assimilate().var4d.to_pysteps()
    np.testing.assert_array_equal(turned_columns, columns[::-1])
    np.testing.assert_array_equal(turned_rows, -rows[::-1])


def test_a_nowcast_of_pysteps_beats_persistence() -> None:
    pytest.importorskip("pysteps")
    from pysteps.nowcasts import extrapolation

    radar = xvar.datasets.sample()
    analysis = radar.isel(time=slice(0, 4)).var4d.assimilate()
    forecast = extrapolation.forecast(radar["rain"].values[3], analysis.var4d.to_pysteps(), 3)
    for lead, image in enumerate(forecast):
        truth, last = radar["rain"].values[4 + lead], radar["rain"].values[3]
        inside = np.isfinite(image)
        assert np.mean((image - truth)[inside] ** 2) < 0.5 * np.mean((last - truth)[inside] ** 2)


def test_the_average_over_a_lead_has_the_decay_of_the_transient_motion() -> None:
    analysis = xvar.datasets.sample().isel(time=slice(0, 4)).var4d.assimilate()
    now = analysis.var4d.to_pysteps(part="total")
    fading = np.stack([analysis["u_transient"][0] * 300 / 1200, -analysis["v_transient"][0] * 300 / 1200])
    assert np.abs(fading).max() > 0.5
    share = np.exp(-6 / 2.5)  # it lives for a frame
    np.testing.assert_allclose(analysis.var4d.to_pysteps(lead="30min"), now - (1 - share) * fading, atol=1e-4)
    np.testing.assert_allclose(analysis.var4d.to_pysteps(lead="1s"), now, atol=0.01)
    steady = analysis.var4d.to_pysteps()
    np.testing.assert_allclose(analysis.var4d.to_pysteps(lead="50D"), steady, atol=1e-3)  # all of it has faded
    np.testing.assert_array_equal(analysis.var4d.to_pysteps(lead="30min", part="steady"), steady)
    with pytest.raises(xvar.InputError):
        analysis.var4d.to_pysteps(lead="soon")


def test_currents_have_no_transient_motion() -> None:
    analysis = drifting().var4d.assimilate()
    np.testing.assert_array_equal(analysis.var4d.to_pysteps(lead="10min"), analysis.var4d.to_pysteps())


def test_the_motion_method_equals_the_analysis() -> None:
    radar = xvar.datasets.sample().isel(time=slice(0, 5))
    rates = 0.12 * radar["rain"].values
    expected = radar.isel(time=slice(1, 5)).var4d.assimilate().var4d.to_pysteps()
    found = pysteps_motion(rates)  # as they are stored, the last four of five
    # Rows the other way round and a grid of other metres: the minimisation ends where rounding takes it.
    assert np.hypot(*(found - expected)).mean() < 0.02 * np.hypot(*expected).mean()
    masked = np.ma.masked_less(rates, -1)
    np.testing.assert_array_equal(pysteps_motion(masked), found)
    assert not np.array_equal(pysteps_motion(rates, part="total"), found)


def test_pysteps_finds_the_method_by_name() -> None:
    interface = pytest.importorskip("pysteps.motion.interface")
    interface._methods["xvar"] = pysteps_motion
    try:
        assert interface.get_method("xvar") is pysteps_motion
    finally:
        del interface._methods["xvar"]


@pytest.mark.parametrize("shape", [(4, 4), (1, 16, 16), ()])
def test_less_than_two_images_are_refused(shape) -> None:
    with pytest.raises(xvar.InputError) as error:
        pysteps_motion(np.zeros(shape))
    assert [(fault.code, fault.variable) for fault in error.value.faults] == [("too-few-images", "images")]


def test_a_dataset_that_is_no_analysis_is_refused() -> None:
    with pytest.raises(xvar.InputError):
        xr.Dataset().var4d.to_pysteps()
