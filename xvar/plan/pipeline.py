"""Steps of a batch of windows, one after the other: quality control, solve, diagnostics."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvar.cf.axes import is_lazy
from xvar.cf.grid import HorizontalGrid
from xvar.cf.size import WORKING_FIELDS
from xvar.errors import InputError
from xvar.execution.batch_sizes import batch_sizes
from xvar.execution.batches import WindowBatch, Work
from xvar.plan.diagnostics import deformation, refuse_divergence
from xvar.plan.options import Options
from xvar.plan.record import Record
from xvar.plan.solver import Plan, Solver
from xvar.quality.artefacts import artefacts
from xvar.quality.values import Screen

Array = NDArray[Any]


@dataclass(frozen=True)
class Pipeline:
    """Analysis of a batch from values of any kind.

    Attributes
    ----------
    solver : Solver
    screen : Screen
        Rules of values that are not observations.
    grid : HorizontalGrid
        Of the frames.
    step : float or None
        Longest step of the model in seconds, if it is shorter than the time between frames.
    refuse : bool
        Raise if values are found that are refused in memory: lazy data were not looked at before.
    strict : bool
        Raise if values are infinite.
    artefacts : bool
        Reject artefacts of instruments too, see `xvar.quality.artefacts`.
    """

    solver: Solver
    screen: Screen
    grid: HorizontalGrid
    step: float | None = None
    refuse: bool = False
    strict: bool = False
    artefacts: bool = False

    def __call__(self, batch: WindowBatch) -> dict[str, Array]:
        """Solve one batch.

        Raises
        ------
        InputError
            If values are refused.
        DivergedError
            If J of a window is not finite at the background.
        """
        rejected = np.stack([self._rejected(window) for window in batch.frames])
        if rejected.any():
            frames = np.where(rejected, np.nan, batch.frames)
            kept = batch.frames.dtype if batch.frames.dtype.kind == "f" else np.dtype(float)
            batch = replace(batch, frames=frames.astype(kept))
        results = self.solver(batch)
        refuse_divergence(results, self.screen.variable)
        results["number_of_rejected_observations"] = rejected.sum(axis=(1, 2, 3)).astype("int32")
        if {"u", "v"} <= set(results):
            longest = batch.longest_interval
            step = longest if self.step is None else min(self.step, longest)
            results["deformation_number"] = step * deformation(results["u"], results["v"], self.grid)
        return results

    def _rejected(self, window: Array) -> NDArray[np.bool_]:
        if self.refuse or self.strict:
            fault = self.screen.problem(window, strict=self.strict, fill=self.refuse)
            if fault is not None:
                raise InputError(fault)
        rejected = self.screen.rejected(window)
        if not self.artefacts:
            return rejected
        clean = np.where(rejected, np.nan, window) if rejected.any() else window
        return rejected | artefacts(clean, self.screen.kind)


def make_work(plan: Plan, record: Record, options: Options, *, lazy: bool) -> tuple[Work, int]:
    """Return the settings of all batches of a call, and the windows of a task."""
    shape, steps = record.grid.shape, plan.schedule.frames.shape[1]
    sizes = {
        "step": steps,
        "interval": len(plan.forced),
        "y": shape[0],
        "x": shape[1],
        "stage": 2,
        "evaluation": plan.evaluations,
        "age": plan.ages,
        "octave": plan.octaves,
        **plan.sizes,
    }
    pipeline = Pipeline(
        plan.solver,
        record.screen,
        record.grid,
        step=plan.step,
        refuse=options.errors == "raise" and is_lazy(record.array),
        strict=options.strict,
        artefacts=not plan.configuration.has_state,
    )
    outputs = {name: part.output(sizes) for name, part in plan.solver.outputs.items()}
    size = batch_sizes(options.batch, len(plan.schedule.frames), math.prod(shape), steps, WORKING_FIELDS, lazy=lazy)
    return Work(pipeline, outputs, options.errors, size.together, options.device, plan.carried), size.task
