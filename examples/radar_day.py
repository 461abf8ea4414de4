"""A day of radar: the window slides over the whole record, and every analysis gives a forecast.

After Fig. 5 of Filoche, Béréziat, Brajard and Charantonis (2021), "Variational assimilation of geophysical images
leveraging deep learning tools": the error of the forecasts after 10, 20 and 30 minutes over the day, beside that of
persistence. The analyses are written to a store; a second call resumes an interrupted run.

    python examples/radar_day.py radar.nc [--output radar_day.nc] [--picture radar_day.png] [--workers 2]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import xarray as xr

import xvar

LEAD, EVERY = "30min", "10min"


def errors(forecast: xr.DataArray, last: xr.DataArray, truth: xr.DataArray) -> xr.Dataset:
    """Root mean square errors (window, lead_time) of the forecasts and of the last image, where the truth is known.

    Parameters
    ----------
    forecast : DataArray (window, lead_time, y, x)
        With the valid times as coordinate ``time``.
    last : DataArray (window, y, x)
        The last image of each window, which persistence forecasts.
    truth : DataArray (time, y, x)
        The record.
    """
    times = forecast["time"]
    known = np.isin(times.values, truth["time"].values)
    scores = {name: np.full(times.shape, np.nan) for name in ("forecast", "persistence")}
    for window, lead in zip(*np.nonzero(known), strict=True):
        observed = truth.sel(time=times.values[window, lead]).values
        candidates = {"forecast": forecast.isel(window=window, lead_time=lead), "persistence": last.isel(window=window)}
        for name, candidate in candidates.items():
            scores[name][window, lead] = np.sqrt(np.nanmean((candidate.values - observed) ** 2))
    units = {"units": truth.attrs["units"]}
    return xr.Dataset(
        {
            f"rmse_{name}": (("window", "lead_time"), values, {"long_name": f"RMSE of {name}", **units})
            for name, values in scores.items()
        },
        {name: forecast[name] for name in ("lead_time", "time", "forecast_reference_time")},
        {"title": "Error of forecasts and of persistence over the record", "Conventions": "CF-1.11"},
    )


def draw(scores: xr.Dataset, path: Path) -> None:
    """The errors over the day, a panel for each lead time."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(scores.sizes["lead_time"], sharex=True, sharey=True, figsize=(9, 7), squeeze=False)
    for panel, lead in zip(panels[:, 0], range(scores.sizes["lead_time"]), strict=True):
        part = scores.isel(lead_time=lead)
        minutes = int(part["lead_time"] / np.timedelta64(1, "m"))
        for name, style in (("persistence", "0.6"), ("forecast", "C0")):
            panel.plot(part["time"], part[f"rmse_{name}"], color=style, label=name)
        panel.set_title(f"{minutes} min", loc="left")
        panel.set_ylabel(f"RMSE ({scores['rmse_forecast'].attrs['units']})")
    panels[0, 0].legend(frameon=False)
    figure.autofmt_xdate()
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main() -> None:
    """Analyse, forecast, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("radar", type=Path, help="a record of radar images")
    parser.add_argument("--variable", help="where the file has several")
    parser.add_argument("--output", type=Path, default=Path("radar_day.nc"))
    parser.add_argument("--picture", type=Path, default=Path("radar_day.png"))
    parser.add_argument("--workers", type=int, help="worker processes; default: threads of this one")
    options = parser.parse_args()
    store = options.output.with_suffix(".analysis.zarr")
    with xr.open_dataset(options.radar) as record:
        print(xvar.run(record, store, variable=options.variable, window=4, stride=1, workers=options.workers))
        with xr.open_zarr(store) as analysis:
            forecast = analysis.var4d.forecast(LEAD, EVERY)
            name = next(str(name) for name in forecast.data_vars if name in record)
            scores = errors(forecast[name], analysis[f"{name}_observed"], record[name])
    scores.to_netcdf(options.output)
    draw(scores, options.picture)
    for lead in scores["lead_time"].values:
        mean = scores.sel(lead_time=lead).mean()
        better = 1 - float(mean["rmse_forecast"] / mean["rmse_persistence"])
        print(
            f"{int(lead / np.timedelta64(1, 'm'))} min: RMSE {float(mean['rmse_forecast']):.3g}, "
            f"persistence {float(mean['rmse_persistence']):.3g}, {better:.0%} better"
        )


if __name__ == "__main__":
    main()
