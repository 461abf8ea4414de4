"""A small radar whose frames are files, and what its forecasts should be."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np
import xarray as xr

import xvar

CADENCE = np.timedelta64(300, "s")
START = np.datetime64("2020-06-01T00:00:00", "ns")
LEAD = "15min"


def storm(frames: int, size: int = 24) -> xr.Dataset:
    """Showers that cross a periodic grid of 1 km, in mm/h."""
    y, x = np.mgrid[:size, :size].astype("f4")
    cells = np.random.default_rng(2).uniform((0, 0, 1.5, 4), (size, size, 3, 12), (6, 4))

    def image(time: int) -> np.ndarray:
        found = np.zeros((size, size))
        for cell_y, cell_x, width, rain in cells:
            away_y = (y - cell_y - 0.3 * time + size / 2) % size - size / 2
            away_x = (x - cell_x - 0.8 * time + size / 2) % size - size / 2
            found += rain * np.exp(-(away_y**2 + away_x**2) / (2 * width**2))
        return np.where(found > 0.1, found, 0)

    return xr.Dataset(
        {
            "rain": (
                ("time", "y", "x"),
                np.stack([image(time) for time in range(frames)]).astype("f4"),
                {"units": "mm h-1", "standard_name": "rainfall_rate"},
            )
        },
        {
            "time": START + np.arange(frames) * CADENCE,
            "y": ("y", np.arange(size) * 1e3, {"units": "m", "standard_name": "projection_y_coordinate"}),
            "x": ("x", np.arange(size) * 1e3, {"units": "m", "standard_name": "projection_x_coordinate"}),
        },
    )


def write_frame(record: xr.Dataset, index: int, folder: pathlib.Path, name: str | None = None) -> pathlib.Path:
    """Write a frame as a producer does: under another name first."""
    path = folder / (name or f"radar_{index:04d}.nc")
    draft = folder / f".{path.name}.tmp"
    record.isel(time=[index]).to_netcdf(draft)
    draft.replace(path)
    return path


def expected(record: xr.Dataset, output: xr.Dataset, outputs: pathlib.Path, pattern: str) -> xr.Dataset:
    """Return the nowcast from the frames that an output states, begun at the forecast that it states."""
    times = output["frame_time"].values[0][output["observed_share"].values[0] > 0]
    guess = output.attrs["first_guess"]
    options = {}
    if guess != "none":
        path = outputs / pathlib.Path(pattern.format(time=np.datetime64(guess, "us").item())).name
        with xr.open_dataset(path) as before:
            options["first_guess"] = before.load()
    frames = record.sel(time=times)
    return xvar.nowcast(frames, LEAD, cadence="5min", window=4, hindcast=False, **options)


def pairs(record: xr.Dataset, outputs: Sequence[xr.Dataset], times: set[np.datetime64]) -> dict[int, list[float]]:
    """Return number, mean square error and that of persistence by lead time in minutes, of all pairs of some times."""
    found: dict[int, list[list[float]]] = {}
    for output in outputs:
        reference = output["forecast_reference_time"].values[0]
        last = record["rain"].sel(time=reference).values.astype(float)
        for lead in output["lead_time"].values:
            if reference + lead not in times:
                continue
            truth = record["rain"].sel(time=reference + lead).values.astype(float)
            forecast = output["rain"].isel(window=0).sel(lead_time=lead).values.astype(float)
            errors = [((one - truth) ** 2).mean() for one in (forecast, last)]
            found.setdefault(int(lead / np.timedelta64(1, "m")), []).append(errors)
    return {lead: [len(rows), *np.mean(rows, axis=0)] for lead, rows in sorted(found.items())}
