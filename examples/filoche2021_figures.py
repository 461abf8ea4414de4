"""Figures 2 to 9 of the paper, drawn by one command.

Filoche, Béréziat, Brajard and Charantonis (2021), "Variational assimilation of geophysical images leveraging deep
learning tools". The rain of figures 2 and 4 is their own storm. Their day of radar and their sea surface temperature
are not available: a day of the Dutch radar replaces the one, images moved by geostrophic currents of the Ionian Sea the
other. The paper compares two codes; here the observation is beside the forecast.

    python examples/filoche2021_figures.py OUT [--radar FILE] [--currents FILE] [--windows 24]
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import xvar
from xvar.errors import AnalysisWarning

DATA = Path(__file__).parents[2] / "shared" / "data"
RADAR, CURRENTS = DATA / "radar-knmi-20100826.nc", DATA / "currents-duacs-ionian-202401.nc"
RAIN_LEADS, SEA_LEADS = (10, 20, 30), (1, 2, 3)  # minutes, days
SIDE = 2.6  # inches of a panel
DOTS = 110  # per inch

#: What each picture must show; the page on pictures has the same.
SHOWS = {
    "figure2.png": "four frames, 5 minutes apart, of one storm that goes from west to east, in mm per hour",
    "figure3.png": "four daily images of temperature with eddies and fronts that hardly move, in degrees",
    "figure4.png": "forecasts 5, 10 and 15 minutes ahead over what came: the same bands at the same places",
    "figure5.png": "the error at 10, 20 and 30 minutes over the record: it grows with the lead time, below persistence",
    "figure6.png": "forecasts 1, 2 and 3 days ahead over what came: differences are hard to see",
    "figure7.png": "the error at 1, 2 and 3 days over the record: it grows with the lead time, and as filaments form",
    "figure8.png": "the end-point error of the currents over the record, below that of no motion",
    "figure9.png": "the currents found and the true ones in the colour wheel: the same colours at the same places",
}


def frames(record: xr.DataArray, title: str) -> Any:
    """Figures 2 and 3: four acquisitions side by side, in the colours of their variable."""
    # An analysis knows what its variable measures; its observed frames are its own plus the residuals.
    analysis = record.var4d.assimilate(window=4, save=("residual",))
    name = str(record.name)
    analysis[name] = (analysis[name] + analysis[f"{name}_residual"]).assign_attrs(analysis[name].attrs)
    grid = analysis.var4d.plot.field(window=0, col="step", size=SIDE)
    grid.fig.suptitle(title, fontsize=11)
    return grid.fig


def horizons(record: xr.DataArray, leads: tuple[int, ...], unit: str, **options: Any) -> Any:
    """Figures 4 and 6: forecasts over what was observed."""
    analysis = record.isel(time=slice(0, 4)).var4d.assimilate(**options)
    forecast = analysis.var4d.forecast(f"{leads[-1]}{unit}")
    return forecast.var4d.plot.forecast(record.to_dataset())


def over_the_record(scores: xr.Dataset, times: xr.DataArray, leads: tuple[int, ...], unit: str) -> Any:
    """Figures 5 and 7: the error of each window at each horizon, a panel each, persistence beside it."""
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(len(leads), sharex=True, figsize=(8, 5.5), layout="constrained")
    step = {"min": 60.0, "d": 86400.0}[unit]
    units = scores["rmse_by_window"].attrs["units"]
    for panel, lead in zip(panels, leads, strict=True):
        one = scores.sel(lead_time=np.timedelta64(round(lead * step), "s"))
        panel.plot(times, one["rmse_by_window"], marker=".", label="forecast")
        panel.axhline(float(one["rmse"]), color="C0", linewidth=0.8, linestyle=":")
        panel.axhline(float(one["rmse_persistence"]), color="0.4", linestyle="--", label="persistence, all windows")
        panel.set_title(f"{lead} {unit}", loc="left", fontsize=10)
        panel.set_ylim(0, 1.15 * panel.get_ylim()[1])
        panel.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, fontsize="small")
    figure.supylabel(f"RMSE ({units})")
    figure.autofmt_xdate()
    return figure


def end_point_errors(scores: xr.Dataset, truth: xr.Dataset, times: xr.DataArray) -> Any:
    """Figure 8: the distance to the true currents at the end of each window, and that of no motion."""
    from matplotlib import pyplot

    figure, panel = pyplot.subplots(figsize=(8, 3), layout="constrained")
    still = np.hypot(truth["u"], truth["v"]).mean(["latitude", "longitude"]).sel(time=times)
    panel.plot(times, scores["end_point_error_by_window"].isel(step=-1), marker=".", label="found")
    panel.plot(times, still, color="0.4", linestyle="--", label="no motion")
    panel.set_ylabel("end-point error (m s$^{-1}$)")
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3)
    panel.legend(fontsize="small")
    figure.autofmt_xdate()
    return figure


def wheels(analysis: xr.Dataset, truth: xr.Dataset) -> Any:
    """Figure 9: currents in the colour wheel, found and true."""
    from matplotlib import pyplot

    last = analysis.isel(window=[0])
    true = last.copy()
    for name in ("u", "v"):
        values = truth[name].sel(time=last["forecast_reference_time"].values[0])
        true[name] = (values + 0 * last[name]).transpose(*last[name].dims).assign_attrs(last[name].attrs)
    fastest = float(np.nanpercentile(np.hypot(true["u"].isel(step=-1), true["v"].isel(step=-1)), 99))
    figure = pyplot.figure(figsize=(11, 4.2), layout="compressed")
    for number, (title, part) in enumerate((("found", last), ("true", true))):
        ax = figure.add_subplot(1, 2, number + 1)
        part.var4d.plot.motion(style="colours", fastest=fastest, ax=ax)
        ax.set_title(title, loc="left")
    return figure


def draw(out: Path, radar: xr.Dataset, currents: xr.Dataset, windows: int) -> list[Path]:
    """All figures; the paths of those that were written."""
    from matplotlib import pyplot

    written = []

    def keep(name: str, figure: Any) -> None:
        figure.savefig(out / name, dpi=DOTS)
        pyplot.close("all")
        written.append(out / name)

    storm = xvar.datasets.sample()["rain"]
    keep("figure2.png", frames(storm.isel(time=slice(0, 4)), "rain over Brest"))
    keep("figure4.png", horizons(storm, (5, 10, 15), "min"))

    name = next(str(key) for key, part in radar.data_vars.items() if part.ndim == 3)
    day = radar[name].isel(time=slice(0, 4 + RAIN_LEADS[-1] // 5 + windows))
    analysis = day.var4d.assimilate(window=4, stride=1).isel(window=slice(0, windows))
    scores = analysis.var4d.forecast("30min").var4d.verify(day.to_dataset())
    keep("figure5.png", over_the_record(scores, analysis["forecast_reference_time"], RAIN_LEADS, "min"))

    sea = xvar.datasets.twin(currents[["ugos", "vgos"]].isel(time=slice(0, 4 + SEA_LEADS[-1] + windows)).load())
    sea = sea.rename(ugos="u", vgos="v")
    temperature = sea["temperature"]
    keep(
        "figure3.png",
        frames(temperature.isel(time=slice(0, 4)), "temperature of the Ionian Sea, moved by its currents"),
    )
    keep("figure6.png", horizons(temperature, SEA_LEADS, "D", constraint="weak"))
    analysis = temperature.var4d.assimilate(window=4, stride=1, constraint="weak")
    scores = analysis.var4d.forecast("3D").var4d.verify(temperature.to_dataset())
    keep("figure7.png", over_the_record(scores, analysis["forecast_reference_time"], SEA_LEADS, "d"))
    motion = analysis.var4d.verify(sea[["u", "v"]])
    keep("figure8.png", end_point_errors(motion, sea, analysis["forecast_reference_time"]))
    keep("figure9.png", wheels(analysis, sea))
    return written


def main() -> None:
    """Draw all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder that takes the pictures")
    parser.add_argument(
        "--radar", type=Path, default=RADAR, help="NetCDF with rain (time, y, x), frames 5 minutes apart"
    )
    parser.add_argument("--currents", type=Path, default=CURRENTS, help="NetCDF with daily currents ugos and vgos")
    parser.add_argument("--windows", type=int, default=24, help="windows of the records, 24 by default")
    options = parser.parse_args()
    import matplotlib as mpl

    mpl.use("agg")
    warnings.simplefilter("ignore", AnalysisWarning)
    options.out.mkdir(parents=True, exist_ok=True)
    with xr.open_dataset(options.radar) as radar, xr.open_dataset(options.currents) as currents:
        for path in draw(options.out, radar, currents, options.windows):
            sys.stdout.write(f"{path}: {SHOWS[path.name]}\n")


if __name__ == "__main__":
    main()
