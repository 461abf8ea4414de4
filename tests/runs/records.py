"""A record that is quick to analyse, and models that misbehave."""

from __future__ import annotations

import os
import pathlib
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from xvar.core.minimize import LBFGS

SIZE = 12
OPTIONS: dict[str, Any] = {
    "window": 4,
    "minimizer": LBFGS(max_evaluations=12, ftol=0.99),
    "save": ("cost_history",),
}


def shower(frames: int = 13) -> xr.Dataset:
    """A shower that crosses a small grid again and again."""
    noise = np.random.default_rng(0).random((frames, SIZE, SIZE))
    y, x = np.mgrid[:SIZE, :SIZE]
    images = [np.exp(-((x - 3 - 0.6 * (t % 9)) ** 2 + (y - 6) ** 2) / 8) + 0.05 * noise[t] for t in range(frames)]
    return xr.Dataset(
        {
            "rain": (
                ("time", "y", "x"),
                np.stack(images).astype("f4"),
                {"units": "mm h-1", "standard_name": "rainfall_rate"},
            )
        },
        {
            "time": np.datetime64("2020-01-01", "ns") + np.arange(frames) * np.timedelta64(300, "s"),
            "y": ("y", np.arange(SIZE) * 1e3, {"units": "m"}),
            "x": ("x", np.arange(SIZE) * 1e3, {"units": "m"}),
        },
        {"title": "showers"},
    )


def marked(record: xr.Dataset, frame: int) -> xr.Dataset:
    """The record with a frame that `Failing` and `Killing` know."""
    changed = record.copy(deep=True)
    changed["rain"][frame] = 0.25
    return changed


def same(one: xr.Dataset, other: xr.Dataset) -> list[str]:
    """Variables whose bits differ."""
    names = [name for name in one.data_vars if "window" in one[name].dims]
    return [
        str(name)
        for name in names
        if not np.array_equal(one[name].values, other[name].values, equal_nan=one[name].dtype.kind == "f")
    ]


def _is_marked(function: Any) -> bool:
    """Whether a window has the frame of one value as its last: nothing is there to be carried."""
    tracer = function.whole.problem.background["tracer"].flatten(1)
    return bool((tracer.amax(1) == tracer.amin(1)).any())


@dataclass(frozen=True)
class Failing(LBFGS):
    """A minimiser that raises where the last frame of a window has one value."""

    error: Exception = field(default_factory=lambda: ArithmeticError("no motion\nin this frame"))

    def __call__(self, function: Any, *arguments: Any, **options: Any) -> Any:
        if _is_marked(function):
            raise self.error
        return super().__call__(function, *arguments, **options)


@dataclass(frozen=True)
class Killing(LBFGS):
    """A minimiser that kills its process there."""

    def __call__(self, function: Any, *arguments: Any, **options: Any) -> Any:
        if _is_marked(function):
            os._exit(9)
        return super().__call__(function, *arguments, **options)


@dataclass(frozen=True)
class Slow(LBFGS):
    """A minimiser that takes its time, and tells by a file that it has begun."""

    seconds: float = 0.2
    sign: str = ""

    def __call__(self, function: Any, *arguments: Any, **options: Any) -> Any:
        if self.sign:
            pathlib.Path(self.sign).touch()
        time.sleep(self.seconds)
        return super().__call__(function, *arguments, **options)


@dataclass(frozen=True)
class Noting(Slow):
    """A slow minimiser that adds a line with its process to a file, `sign`, for each minimisation."""

    def __call__(self, function: Any, *arguments: Any, **options: Any) -> Any:
        with pathlib.Path(self.sign).open("a") as file:
            file.write(f"{os.getpid()}\n")
        return super().__call__(function, *arguments, **options)


@dataclass(frozen=True)
class Locking(LBFGS):
    """A minimiser that holds what cannot be pickled."""

    guard: Any = None

    @classmethod
    def make(cls) -> Locking:
        return cls(max_evaluations=12, ftol=0.99, guard=threading.Lock())
