"""Speed and direction where they are known: xvar and the optical flows on images that a given motion moved.

Four images of 256 x 256 pixels, made by `xvar.datasets.twin`: a random field that goes on outside the grid, moved by
exact characteristics, with noise on every pixel, squared where it is positive so that half of the domain is dry, as
rain is. The end-point error is the mean distance in pixels a frame between the motion found at the last image and the
true one, over wet points at least 64 pixels from the edges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import xarray as xr

import xvar
from benchmarks.nowcast import FLOWS, FRAMES, Array

SIZE, CELL, FRAME = 256, 1e3, 300.0  # pixels, m, s
INNER = slice(64, -64)
SEEDS = (0, 1)
TRANSLATIONS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)  # pixels a frame
WET = 0.1  # mm/h
GROWTH = 0.1  # of the root, over the deviation of the field, in a frame
CURRENT = 3.0  # pixels a frame, of what grows

Motion = Callable[[Array, Array], tuple[Array, Array]]


def translation(speed: float) -> Motion:
    """The same everywhere, 30 degrees from the axis."""
    angle = np.pi / 6
    return lambda x, _: (np.full_like(x, speed * np.cos(angle)), np.full_like(x, speed * np.sin(angle)))


MOTIONS: Mapping[str, Motion] = {
    **{f"translation, {speed:g} px": translation(speed) for speed in TRANSLATIONS},
    "rotation, 0.05 a frame": lambda x, y: (-0.05 * y, 0.05 * x),
    "shear, 0.05 a frame": lambda _, y: (0.05 * y, np.zeros_like(y)),
    "divergence, 0.04 a frame": lambda x, y: (0.02 * x, 0.02 * y),
    "convergence, 0.04 a frame": lambda x, y: (-0.02 * x, -0.02 * y),
    f"growth, 0.1 a frame, moving {CURRENT:g} px": translation(CURRENT),
}


def truth_of(motion: Motion) -> xr.Dataset:
    """A steady velocity in m/s, for the time of the images."""
    axis = (np.arange(SIZE) - (SIZE - 1) / 2) * CELL
    x, y = np.meshgrid(axis / CELL, axis / CELL)
    parts = [np.broadcast_to(part * CELL / FRAME, (2, SIZE, SIZE)) for part in motion(x, y)]
    times = pd.date_range("2000-01-01", periods=2, freq=pd.Timedelta(seconds=FRAME * (FRAMES - 1)))
    horizontal = {name: (name, axis, {"units": "m", "standard_name": f"projection_{name}_coordinate"}) for name in "yx"}
    return xr.Dataset(
        {name: (("time", "y", "x"), part, {"units": "m s-1"}) for name, part in zip("uv", parts, strict=True)},
        {"time": times.as_unit("ns"), **horizontal},
    )


def rain_of(name: str, seed: int) -> xr.Dataset:
    """Images of rain in mm/h that a motion moves, and lets grow where its name says so."""
    truth, every = truth_of(MOTIONS[name]), pd.Timedelta(seconds=FRAME)
    root = xvar.datasets.twin(truth, times=every, exponent=2.0, seed=seed)["temperature"] - xvar.datasets.MEAN
    if name.startswith("growth"):
        # What grows stays with its parcels.
        pattern = xvar.datasets.twin(truth, times=every, exponent=3.0, noise=0.0, seed=seed + 100)["temperature"]
        frames = xr.DataArray(np.arange(FRAMES), dims="time")
        root = root + GROWTH * frames * (pattern - xvar.datasets.MEAN)
    rain = (2 * root.clip(min=0) ** 2).astype("float32")
    return rain.assign_attrs(units="mm h-1", standard_name="rainfall_rate").to_dataset(name="rain")


def xvar_flows(record: xr.Dataset) -> dict[str, Array]:
    """Displacements of xvar's defaults (2, y, x) in pixels a frame along x and y: at the last image, and the steady."""
    analysis = record.var4d.assimilate("rain")
    return {"xvar": analysis.var4d.to_pysteps(part="total"), "xvar, steady part": analysis.var4d.to_pysteps()}


def measure() -> dict[str, dict[str, float]]:
    """End-point error in pixels a frame by motion and method, the mean over seeds."""
    results: dict[str, dict[str, float]] = {}
    for name, motion in MOTIONS.items():
        errors: dict[str, list[float]] = {}
        centred = np.arange(SIZE) - (SIZE - 1) / 2
        true = np.stack(motion(*np.meshgrid(centred, centred)))
        for seed in SEEDS:
            record = rain_of(name, seed)
            frames = record["rain"].values.astype(float)
            wet = frames[-1, INNER, INNER] > WET
            found = {method: flow(frames) for method, flow in FLOWS.items()} | xvar_flows(record)
            for method, displacement in {"no motion": np.zeros_like(true), **found}.items():
                distance = np.hypot(*(displacement - true))[INNER, INNER]
                errors.setdefault(method, []).append(float(distance[wet].mean()))
        results[name] = {method: float(np.mean(values)) for method, values in errors.items()}
    return results


def table(results: Mapping[str, Mapping[str, float]]) -> str:
    """Markdown; the least of the methods in bold."""
    methods = list(next(iter(results.values())))
    lines = ["| motion | " + " | ".join(methods) + " |", "|---|" + "---|" * len(methods)]
    for name, errors in results.items():
        least = min(errors.values())
        cells = (f"**{error:.3f}**" if error == least else f"{error:.3f}" for error in errors.values())
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
