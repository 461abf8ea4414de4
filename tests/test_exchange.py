"""Motion for other packages: the signs and units that they expect."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xvar


def test_displacements_are_pixels_of_the_stored_image() -> None:
    analysis = xvar.datasets.sample().var4d.assimilate()
    columns, rows = analysis.var4d.to_pysteps(window=0)
    last = analysis.isel(window=0, step=-1)
    np.testing.assert_allclose(columns, last["u"] * 300 / 1200, rtol=1e-6)
    np.testing.assert_allclose(rows, -last["v"] * 300 / 1200, rtol=1e-6)  # y descends along the rows


def test_the_order_of_rows_goes_with_the_image() -> None:
    radar = xvar.datasets.sample().isel(time=slice(0, 4))
    columns, rows = radar.var4d.assimilate().var4d.to_pysteps()
    turned_columns, turned_rows = radar.isel(y=slice(None, None, -1)).var4d.assimilate().var4d.to_pysteps()
    np.testing.assert_array_equal(turned_columns, columns[::-1])
    np.testing.assert_array_equal(turned_rows, -rows[::-1])


def test_pysteps_carries_the_storm_with_it() -> None:
    pytest.importorskip("pysteps")
    from pysteps.nowcasts import extrapolation

    radar = xvar.datasets.sample()
    analysis = radar.isel(time=slice(0, 4)).var4d.assimilate()
    forecast = extrapolation.forecast(radar["rain"].values[3], analysis.var4d.to_pysteps(), 3)
    for lead, image in enumerate(forecast):
        truth, last = radar["rain"].values[4 + lead], radar["rain"].values[3]
        inside = np.isfinite(image)
        assert np.mean((image - truth)[inside] ** 2) < 0.5 * np.mean((last - truth)[inside] ** 2)


def test_what_is_no_analysis_is_refused() -> None:
    with pytest.raises(xvar.InputError, match="expected an analysis"):
        xr.Dataset().var4d.to_pysteps()
