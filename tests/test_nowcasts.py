"""Nowcasts of real rain at other cadences than 5 minutes."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

FRAMES, AHEAD, WINDOWS = 4, 6, 6
EDGE = 36  # pixels of 1 km that are not scored


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:ground_echoes:xvar.errors.InputWarning")
@pytest.mark.parametrize(("every", "first"), [(2, 0), (2, 1), (3, 0), (3, 1), (3, 2)])
@pytest.mark.parametrize("event", ["fmi-20160928", "mch-20150515", "knmi-20100826"])
def test_no_forecast_of_every_second_or_third_frame_is_worse_than_the_last_frame(
    shared_data, event, every, first
) -> None:
    """RMSE within 2 % of persistence at each of six frames ahead, on windows over the whole event."""
    with xr.open_dataset(shared_data / f"radar-{event}.nc") as opened:
        record = opened[["rainfall_rate"]].isel(time=slice(first, None, every)).load()
    lead = (AHEAD * (record["time"][1] - record["time"][0])).values
    inner = {"y": slice(EDGE, -EDGE), "x": slice(EDGE, -EDGE)}
    room = record.sizes["time"] - FRAMES - AHEAD
    errors, kept = [], []
    for start in sorted({round(begin) for begin in np.linspace(0, room, WINDOWS)}):
        window = record.isel(time=slice(start, start + FRAMES))
        forecast = window.var4d.assimilate().var4d.forecast(lead)["rainfall_rate"].isel(window=0)
        last = window["rainfall_rate"].isel(time=-1)
        truth = record["rainfall_rate"].isel(time=slice(start + FRAMES, start + FRAMES + AHEAD))
        truth = truth.rename(time="lead_time").drop_vars("lead_time", errors="ignore")
        forecast = forecast.drop_vars(["lead_time", "time"]).fillna(last)
        for found, squares in ((forecast, errors), (last, kept)):
            squares.append((((found - truth) ** 2).isel(**inner).mean(["y", "x"]) ** 0.5).values)
    assert (np.mean(errors, axis=0) < 1.02 * np.mean(kept, axis=0)).all()
