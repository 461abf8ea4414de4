"""Steps of a batch of windows, one after the other: quality control, solve, diagnostics."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from xvar.cf.axes import is_lazy
from xvar.cf.grid import HorizontalGrid
from xvar.cf.record import Record
from xvar.cf.size import WORKING_FIELDS
from xvar.execution.batch_sizes import batch_sizes
from xvar.execution.batches import WindowBatch, Work
from xvar.plan.diagnostics import deformation, refuse_divergence
from xvar.plan.options import Options
from xvar.plan.solver import Plan, Solver
from xvar.quality.control import QualityControl
from xvar.quality.values import Screen

Array = NDArray[Any]


@dataclass(frozen=True)
class Pipeline:
    """Analysis of a batch: quality control, solver, diagnostics; `step` is the longest of the model in seconds."""

    solver: Solver
    quality: QualityControl
    grid: HorizontalGrid
    step: float | None = None

    def __call__(self, batch: WindowBatch) -> dict[str, Array]:
        """Solve one batch.

        Raises
        ------
        InputError
            If values are refused.
        DivergedError
            If J of a window is not finite at the background.
        """
        frames, rejected = self.quality(batch.frames)
        results = self.solver(replace(batch, frames=frames))
        refuse_divergence(results, self.quality.screen.variable)
        results["rejected_observations"] = rejected
        results["number_of_rejected_observations"] = rejected.sum(axis=1, dtype="int32")
        if {"u", "v"} <= set(results):
            longest = batch.longest_interval
            step = longest if self.step is None else min(self.step, longest)
            results["deformation_number"] = step * deformation(results["u"], results["v"], self.grid)
        return results


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
        **plan.sizes,
        "rule": len(plan.rules),
    }
    refuse = options.errors == "raise" and is_lazy(record.array)
    pipeline = Pipeline(
        plan.solver,
        QualityControl(Screen.of_record(record), plan.rules, refuse=refuse, strict=options.strict),
        record.grid,
        step=plan.step,
    )
    outputs = {name: part.output(sizes) for name, part in plan.solver.outputs.items()}
    size = batch_sizes(options.batch, len(plan.schedule.frames), math.prod(shape), steps, WORKING_FIELDS, lazy=lazy)
    return Work(pipeline, outputs, options.errors, size.together, options.device, plan.carried), size.task
