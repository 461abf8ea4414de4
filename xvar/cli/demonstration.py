"""``xvar demo``: assimilate, forecast, verify and draw the storm that ships with the package."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import xarray as xr

from xvar.analysis.forecast import forecast
from xvar.analysis.outputs import motion_of
from xvar.analysis.verify import verify
from xvar.assimilation import assimilate
from xvar.cf.units import rain_rate_factor
from xvar.cli.tables import print_scores
from xvar.cli.terminal import say
from xvar.datasets import sample
from xvar.io.writing import write

FRAMES = 4
PICTURE, ANALYSIS = "xvar-demo.png", "xvar-demo.nc"
COMPASS = ("east", "north-east", "north", "north-west", "west", "south-west", "south", "south-east")


def demonstrate() -> None:
    """Assimilate four frames, forecast the next three, compare, and draw the motion."""
    radar = _rates(sample())
    begin, end = (str(radar["time"].values[index])[11:16] for index in (0, FRAMES - 1))
    say("Rain over Brest in the storm of 3 January 2018 (Météo-France, MeteoNet, Etalab Open Licence 2.0).")
    import torch  # noqa: F401  (its start is no part of the time below)

    began = time.perf_counter()
    analysis = assimilate(radar.isel(time=slice(0, FRAMES)))
    seconds = time.perf_counter() - began
    say(f"Found the motion in {FRAMES} radar frames, {begin} to {end} UTC, in {seconds:.1f} s: {_motion(analysis)}.")
    predicted = forecast(analysis, "15min")
    say("Forecast the next 15 minutes and compared them with the frames that came:")
    print_scores(verify(predicted, radar))
    where = write(analysis, ANALYSIS, overwrite=True)
    say(f"\nThe analysis is in {where.resolve()}")
    say(_draw(analysis))
    say("Your own file: xvar info FILE, then xvar assimilate FILE -o analysis.nc")


def _rates(radar: xr.Dataset) -> xr.Dataset:
    """Return the sample in mm h-1, the unit of the thresholds of its scores."""
    rain = radar["rain"]
    factor = rain_rate_factor(rain.attrs["units"], None)
    return radar.assign(rain=(rain * (factor or 1.0)).assign_attrs(units="mm h-1", long_name="rain rate"))


def _motion(analysis: xr.Dataset) -> str:
    """Return speed and direction of the mean motion of rain."""
    last = analysis.isel(window=-1, step=-1)
    u, v = (float(component.where(last["rain"] > 0).mean()) for component in motion_of(last))
    direction = COMPASS[round(np.degrees(np.arctan2(v, u)) / 45) % 8]
    return f"{np.hypot(u, v):.0f} m/s towards the {direction}"


def _draw(analysis: xr.Dataset) -> str:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return "No picture without matplotlib: pip install 'xvar[plot]' brings it."
    from xvar.plot import motion

    figure = Figure(figsize=(7.5, 6.5), layout="constrained")
    ax = motion(analysis, ax=figure.subplots())
    end = str(analysis["forecast_reference_time"].values[-1])
    ax.set_title(f"Rain over Brest, France, and its motion\n{end[:10]} {end[11:16]} UTC", loc="left", fontsize=11)
    # The source states distances and the order of the rows, north first, and no position.
    ax.set(xlabel="distance to the east (km)", ylabel="distance to the north (km)")
    figure.savefig(PICTURE, dpi=130)
    return (
        f"The picture of the motion over the rain is in {Path(PICTURE).resolve()}\n"
        "The file has no positions, so the picture has distances; of data with positions it is a map."
    )
