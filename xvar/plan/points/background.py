"""The background of each window: its fields, its land and when it begins."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.errors import Faults
from xvar.plan.points.table import Array


def starts_of(background: xr.Dataset) -> list[xr.Dataset]:
    """The background of each window, by its times."""
    time = background.coords.get("time")
    if time is None or time.ndim != 1 or time.size < 2:
        return [background]
    return [background.isel({time.dims[0]: index}) for index in range(time.size)]


def state_of(
    background: xr.Dataset, names: list[str], staggered: tuple[str, ...], faults: Faults
) -> tuple[dict[str, Array], tuple[Hashable, Hashable], NDArray[np.bool_] | None]:
    """The fields (y, x) of the state, the names of their dimensions, and land: where there is no state at all."""
    fields: dict[str, Array] = {}
    plane: tuple[Hashable, ...] = ()
    for name in names:
        if name not in background:
            faults.add(
                found=f"a background without {name!r}",
                expected=f"the whole state: {', '.join(map(repr, names))}",
                fix="add it, or name the model's variables as the background does",
            )
            continue
        field = background[name].squeeze(drop=True)
        plane = plane or tuple(field.dims)
        if field.ndim != 2 or set(field.dims) != set(plane):
            faults.add(
                variable=f"background {name}",
                found=f"dimensions {field.dims}",
                expected="two, those of the grid (y, x)",
                fix="choose one time, background.isel(time=0)",
            )
            continue
        fields[name] = np.asarray(field.transpose(*plane).values, dtype="float64")
    missing = [~np.isfinite(values) for values in fields.values()]
    land = np.logical_and.reduce(missing) if missing else np.zeros((1, 1), dtype=bool)
    for name, values in fields.items():
        broken = ~np.isfinite(values)
        if (broken & ~land).any() and name not in staggered:
            faults.add(
                variable=f"background {name}",
                index=tuple(int(axis[0]) for axis in np.nonzero(broken & ~land)),
                found=f"{int((broken & ~land).sum())} values that are not finite where others of the state are",
                expected="a complete state, but on land",
                fix="fill them, background.fillna(...)",
            )
        elif land.all():
            faults.add(
                variable=f"background {name}",
                found="no value that is finite",
                expected="some water",
                fix="choose another time",
            )
            break
        elif broken.any():
            # No value of land is looked at, but a model may run there; nothing flows through its coasts.
            fields[name] = np.where(broken, 0.0 if name in staggered else values[~broken].mean(), values)
    known = land if land.any() else None
    return fields, plane[:2] if len(plane) > 1 else ("y", "x"), known  # type: ignore[return-value]


def beginning_of(background: xr.Dataset, faults: Faults) -> np.datetime64:
    """When a window begins."""
    time = background.coords.get("time")
    if time is None or time.size != 1 or time.dtype.kind != "M":
        faults.add(
            variable="background",
            found="no one time" if time is None else f"time of size {time.size} and type {time.dtype}",
            expected="a scalar coordinate time, where the window begins",
            fix='background.isel(time=0), or background.assign_coords(time=np.datetime64("2024-01-01"))',
        )
        return np.datetime64("NaT", "ns")
    return np.datetime64(time.values.ravel()[0])
