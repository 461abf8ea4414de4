"""A device beside the processor: time per window, memory, and waits for the device; without one, the waits alone."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import xarray as xr

from benchmarks import speed
from benchmarks.synchronisations import Synchronisations
from xvar.core.covariance import transform
from xvar.core.minimize import LBFGS, Minimum
from xvar.core.paths import SWITCH

SIDES = (128, 256, 512, 1024, 2048)
BATCHES = (1, 16, 64)  # windows
LARGEST = 2**26  # points of the windows of a batch
COUNTED = 128  # points along a side of the windows whose waits are counted

Row = dict[str, Any]


def record(side: int, windows: int) -> xr.Dataset:
    """Return windows of moving rain that share no frame."""
    one = speed.moving_rain(side)
    frames = np.concatenate([np.roll(one["rain"].values, 5 * number, -1) for number in range(windows)])
    times = one["time"].values[0] + np.arange(len(frames)) * np.timedelta64(5, "m")
    rain = (one["rain"].dims, frames, one["rain"].attrs)
    return xr.Dataset({"rain": rain}, {"time": times, "y": one["y"], "x": one["x"]})


def waits(kind: str) -> Row:
    """Count the waits of a default window, counted on the processor as if it were a device."""
    window = record(COUNTED, 1)
    if kind == "sea":
        attributes = {"standard_name": "sea_surface_temperature", "units": "degC"}
        window = (15 + window.rename(rain="sst")["sst"] / 10).assign_attrs(attributes).to_dataset()
    inside: list[int] = []
    with as_on_a_device(), Synchronisations() as counted, watched(lambda: counted.count, inside):
        analysis = window.var4d.assimilate()
    evaluations = int(analysis["evaluations"].sum())
    per_evaluation, others = sum(inside) / evaluations, counted.count - sum(inside)
    return {
        "what": f"waits of a window, {kind}, {COUNTED}², counted on the processor",
        "found": f"{per_evaluation:.2f} for each of {evaluations} evaluations, {others} beside them",
        "waits": per_evaluation,
    }


@contextmanager
def as_on_a_device() -> Iterator[None]:
    """Switch off what only a processor has: the compiled loop, and the cosine transforms of scipy."""
    before, cosines = os.environ.get(SWITCH), transform.MOST_COSINES
    os.environ[SWITCH], transform.MOST_COSINES = "0", COUNTED
    transform.shared_transform.cache_clear()
    try:
        yield
    finally:
        transform.MOST_COSINES = cosines
        transform.shared_transform.cache_clear()
        if before is None:
            del os.environ[SWITCH]
        else:
            os.environ[SWITCH] = before


@contextmanager
def watched(count: Callable[[], int], inside: list[int]) -> Iterator[None]:
    """Collect how much a count grows in each minimisation."""
    original = LBFGS.__call__

    def call(self: LBFGS, *arguments: Any) -> Minimum:
        before = count()
        found = original(self, *arguments)
        inside.append(count() - before)
        return found

    LBFGS.__call__ = call  # type: ignore[method-assign]
    try:
        yield
    finally:
        LBFGS.__call__ = original  # type: ignore[method-assign]


def on_device(side: int, windows: int, device: str) -> Row:
    """Return time and memory of windows on a device, and the time of one on the processor."""
    data = record(side, windows)

    def once(where: str | None, count: int = windows) -> float:
        part = data.isel(time=slice(0, 4 * count))
        begin = time.perf_counter()
        part.var4d.assimilate(window=4, stride=4, batch=count, device=where)
        return time.perf_counter() - begin

    once(device)
    torch.cuda.reset_peak_memory_stats(device)
    seconds = min(once(device) for _ in range(3)) / windows
    peak = torch.cuda.max_memory_allocated(device) / 2**20
    alone = min(once(None, 1) for _ in range(2 if side > 512 else 3))
    return {
        "what": f"{windows} window{'s' if windows > 1 else ''} of {side}² on {torch.cuda.get_device_name(device)}",
        "found": f"{1e3 * seconds:.1f} ms a window, peak {peak:.0f} MiB; one on the processor {1e3 * alone:.0f} ms",
        "ratio": alone / seconds,
    }


def measure() -> list[Row]:
    """Return the waits, and what was measured on a device, if there is one."""
    rows = [waits(kind) for kind in ("rain", "sea")]
    if not torch.cuda.is_available():
        return [*rows, {"what": "time and memory on a device", "found": "not measured: this machine has none"}]
    for side in SIDES:
        for windows in BATCHES:
            if windows * side**2 <= LARGEST:
                print(f"{windows} x {side}", file=sys.stderr)
                rows.append(on_device(side, windows, "cuda"))
    return rows


def table(rows: list[Row]) -> str:
    """Return the rows as Markdown."""
    lines = ["| | | processor over device |", "|---|---|---|"]
    for row in rows:
        ratio = f"{row['ratio']:.1f}" if "ratio" in row else ""
        lines.append(f"| {row['what']} | {row['found']} | {ratio} |")
    return "\n".join(lines)
