"""Assimilation of a table of observations at points."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import xarray as xr

from xvar.errors import Faults
from xvar.plan.method import choose_method
from xvar.plan.options import Options
from xvar.plan.points import Points, assimilate_points

_OWN = ("dynamics", "background", "background_error", "model_error", "parameters", "penalties", "window")
_TAKEN = (*_OWN, "dtype", "device", "minimizer", "save", "method", "constraint", "observation", "errors", "strict")


def is_table(data: Any, observation: Any = None) -> bool:
    """Return whether the data are observations at points, see `xvar.observation.Points`."""
    if isinstance(observation, Points):
        return True
    return observation is None and isinstance(data, xr.Dataset) and "value" in data and data["value"].ndim == 1


def assimilate_table(data: Any, options: Options, faults: Faults) -> xr.Dataset:
    """Assimilate points, for which only some of the options have a meaning."""
    choose_method(options, None, faults)
    for name, value in options.stated().items():
        if name not in _TAKEN or (name == "background" and not isinstance(value, xr.Dataset)):
            faults.add(
                code="option-misplaced",
                variable=name,
                found=f"{name}={value!r} with observations at points",
                expected="an option that has a meaning for them",
                fix=f"leave {name}= out",
            )
    if options.background is None:
        faults.add(
            code="background-missing",
            variable="background",
            found="observations at points without background=",
            expected="the state at the beginning, which gives the grid",
            fix="background=...",
        )
    if options.constraint == "weak" and options.model_error is None:
        faults.add(
            code="model-error-missing",
            variable="model_error",
            found='constraint="weak" without model_error=',
            expected="Q, per second",
            fix="model_error={...}",
        )
    if set(options.save) - {"cost_history"}:
        faults.add(
            code="option-value",
            variable="save",
            found=f"save={options.save!r} with observations at points",
            expected="cost_history alone",
            fix='save=("cost_history",)',
        )
    if not is_table(data):
        faults.add(
            code="points-beside-images",
            found="observations at points beside images",
            expected="one table of both",
            fix='xarray.concat([xvar.observation.pixels(ds["sst"], std=...), points], "point").var4d.assimilate(...)',
        )
    faults.raise_if_any()
    own = {name: getattr(options, name) for name in (*_OWN, "dtype", "device", "minimizer", "save")}
    observation = Points(data) if options.observation is None else replace(options.observation, dataset=data)
    return assimilate_points(observation, **own)
