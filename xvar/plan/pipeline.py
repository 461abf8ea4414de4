"""Steps of a batch of windows, quality control, solve and diagnostics; warnings about their outcome."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np

from xvar.cf.axes import is_lazy
from xvar.cf.grid import HorizontalGrid
from xvar.cf.record import Record
from xvar.cf.times import date_text
from xvar.core.allocation import kept_memory
from xvar.errors import AnalysisWarning, DivergedError, Fault, Status, warn
from xvar.execution.batches import WindowBatch, Work, batch_sizes
from xvar.execution.workers import is_accelerator
from xvar.plan.bridge import Array, ascending
from xvar.plan.call import Plan, Solver
from xvar.plan.memory import field_bytes, memory_of_window, working_fields
from xvar.plan.options import Options
from xvar.quality.control import QualityControl, warn_of_artefacts
from xvar.quality.rules import Screen


@dataclass(frozen=True)
class Pipeline:
    """Analysis of a batch: quality control, solver, diagnostics."""

    solver: Solver
    quality: QualityControl
    grid: HorizontalGrid
    step: float | None = None  # of the model, the longest, in seconds
    keeps_memory: bool = True  # faster; a window that hardly fits returns what it frees to the system

    def __call__(self, batch: WindowBatch) -> dict[str, Array]:
        """Solve one batch; raise InputError if values are refused, DivergedError if J of a window is not finite."""
        with kept_memory() if self.keeps_memory else nullcontext():
            return self._results(batch)

    def _results(self, batch: WindowBatch) -> dict[str, Array]:
        frames, rejected = self.quality(batch.frames)
        results = self.solver(replace(batch, frames=frames))
        refuse_divergence(results, self.quality.screen.variable)
        results["rejected_observations"] = rejected
        results["number_of_rejected_observations"] = rejected.sum(axis=1, dtype="int32")
        if {"u", "v"} <= set(results) and len(self.grid.shape) == 2:
            longest = float(np.diff(batch.seconds).max())
            step = longest if self.step is None else min(self.step, longest)
            results["deformation_number"] = step * deformation(results["u"], results["v"], self.grid)
        return results


def make_work(plan: Plan, record: Record, options: Options, *, lazy: bool) -> tuple[Work, int]:
    """Return the settings of all batches of a call, and the windows of a task."""
    shape, steps = record.grid.shape, plan.schedule.frames.shape[1]
    sizes = {
        "step": steps,
        "interval": len(plan.forced),
        **dict(zip(record.axes.places, shape, strict=True)),
        "stage": 2,
        "evaluation": plan.evaluations,
        "observation_type": len(plan.sources),
        "member": plan.members,
        **plan.sizes,
        "rule": len(plan.rules),
    }
    raises = options.errors == "raise"
    refuse = raises and is_lazy(record.array)
    pipeline = Pipeline(
        plan.solver,
        QualityControl(Screen.of_record(record), plan.rules, refuse=refuse, strict=options.strict, required=raises),
        record.grid,
        step=plan.step,
        keeps_memory=plan.configuration.tile is None,
    )
    outputs = {name: part.output(sizes) for name, part in plan.solver.outputs.items()}
    points = math.prod(shape)
    fields = working_fields(plan.configuration.method, steps, options.device)
    on_device = is_accelerator(options.device)
    size = batch_sizes(options.batch, len(plan.schedule.frames), points, steps, fields, lazy=lazy, on_device=on_device)
    # The halo of tiles is that of the fastest motion: the bits of a window must not depend on others.
    need = field_bytes(fields, points, options.dtype)
    fit = memory_of_window(options) // need if plan.configuration.tile is None else 1
    together = max(1, int(min(size.together, fit)))
    work = Work(pipeline, outputs, options.errors, together, options.device, plan.carried, window_bytes=need)
    return work, size.task


def refuse_divergence(results: Mapping[str, Array], variable: str) -> None:
    """Raise DivergedError if J is not finite at the background; a window that diverges later keeps its best iterate."""
    if np.isfinite(results["cost"][:, 0]).all():
        return
    terms = [
        name.removeprefix("cost_")
        for name, values in results.items()
        if name.startswith("cost_") and not np.isfinite(values[:, 0]).all()
    ]
    raise DivergedError(
        Fault(
            code="cost-not-finite",
            found=f"J is {results['cost'][:, 0].sum():g} at the background, by its term {' and '.join(terms) or 'J'}",
            expected="a model, observations and errors that give a finite J at the background",
            fix="see xvar.check.dynamics(model, state) for the model; a shorter step, or errors that are not zero",
            variable=variable,
        )
    )


def deformation(u: Array, v: Array, grid: HorizontalGrid) -> Array:
    """Return the largest spectral norm of the gradient of a motion in each window, in s-1.

    The motion (window, ..., y, x) is in m s-1, NaN on land. Trajectories of a step of dt cross if dt times this is
    above one: Smolarkiewicz and Pudykiewicz (1992), doi:10.1175/1520-0469(1992)049<2082:ACOSLA>2.0.CO;2.
    """
    dy, dx = grid.spacing if grid.metric is None else ascending(grid.metric, grid)
    largest = np.zeros(len(u))
    for window in range(len(u)):
        for both in zip(*(w[window].reshape(-1, *w.shape[-2:]) for w in (u, v)), strict=True):
            (uy, ux), (vy, vx) = (np.gradient(w) for w in both)
            ux, vx, uy, vy = ux / dx, vx / dx, uy / dy, vy / dy
            squares = np.fmax(ux**2 + uy**2 + vx**2 + vy**2, 0.0)  # zero for NaN
            # The square of the norm is at least half of this sum, and at most all of it.
            high = squares >= 0.5 * squares.max()
            square = squares[high].astype("float64")
            determinant = ux[high] * vy[high] - uy[high] * vx[high]
            # Largest singular value of a matrix of two rows.
            norms = np.sqrt((square + np.sqrt(np.maximum(square**2 - 4 * determinant**2, 0))) / 2)
            largest[window] = max(largest[window], norms.max())
    return largest


def warn_about_analysis(arrays: Mapping[str, Array], plan: Plan, record: Record) -> None:
    """Warn about windows of an analysis of images in memory, see `warn_about_windows`."""

    def name(window: int) -> str:
        frames = plan.schedule.frames[window]
        first, last = (date_text(record.times.values[index]) for index in (frames[0], frames.max()))
        return f"window {window} ({first} to {last})"

    step = record.cadence if plan.step is None else min(plan.step, record.cadence)
    reach = [n * d / step for n, d in zip(record.grid.shape, record.grid.spacing, strict=True)]
    warn_of_artefacts(arrays["rejected_observations"], plan.rules, name)
    warn_about_windows(arrays, name, (reach[1], reach[0]) if record.is_plane else None)
    if plan.configuration.gaussian and plan.configuration.cycled:
        _warn_about_errors(arrays)


#: 2 J / p of cycled windows from which on their stated errors are certainly too small, and the fewest windows.
TOO_LARGE, ENOUGH = 5.0, 5


def _warn_about_errors(arrays: Mapping[str, Array]) -> None:
    """Warn if J of cycled windows is far above what their stated errors allow: minima alone say nothing about them."""
    count, cost = arrays["number_of_observations"], arrays["cost"][:, 1]
    ratio = float(np.median(2 * cost[count > 0] / count[count > 0])) if (count > 0).sum() >= ENOUGH else 0.0
    if ratio > TOO_LARGE:
        warn(
            f"2 J / p is {ratio:.3g} in the median of {len(count)} cycled windows, and about 1 if the stated errors "
            "are right: background_error=, observation_error= or the error of the model is too small, and cycles may "
            "have lost the truth; save=('innovation', 'residual') and .var4d.diagnose() tell which",
            AnalysisWarning,
        )


_ENDS = (
    (Status.NOT_CONVERGED, "not converged", "minimizer=xvar.minimize.LBFGS(max_evaluations=...) allows more"),
    (
        Status.DIVERGED,
        "diverged: the best iterate is kept",
        "a shorter step of the model, or larger observation errors",
    ),
)


def warn_about_windows(
    arrays: Mapping[str, Array], names: Callable[[int], str], fastest: tuple[float, float] | None = None
) -> None:
    """Warn about windows that did not converge, diverged, left the grid, or whose trajectories cross.

    `fastest` are the speeds along x and y, in m s-1, that carry everything off the grid in a step: no image shows a
    motion that fast.
    """
    status = arrays["status"]
    for code, words, fix in _ENDS:
        windows = np.flatnonzero((status == code) & (arrays["evaluations"] > 0))
        if windows.size:
            first = int(windows[0])
            warn(
                f"{windows.size} of {status.size} windows {words}, the first {names(first)} after "
                f"{int(arrays['evaluations'][first])} evaluations with a gradient of norm "
                f"{float(arrays['gradient_norm'][first]):.3g}; {fix}",
                AnalysisWarning,
            )
    if fastest is not None and {"u", "v"} <= set(arrays):
        speeds = [np.abs(np.nan_to_num(arrays[name])).reshape(status.size, -1).max(axis=1) for name in ("u", "v")]
        gone = (speeds[0] > fastest[0]) | (speeds[1] > fastest[1])
        if gone.any():
            worst = int(np.argmax(np.where(gone, np.maximum(*speeds), 0.0)))
            warn(
                f"the motion leaves the grid within one step of the model in {int(gone.sum())} of {status.size} "
                f"windows: {max(speeds[0][worst], speeds[1][worst]):.3g} m/s in {names(worst)}, where {fastest[0]:.3g} "
                f"along x and {fastest[1]:.3g} m/s along y cross the whole grid; a background of the variable that the "
                "images can come from, its error in background_error=, or a smaller error of the motion",
                AnalysisWarning,
            )
    numbers = arrays.get("deformation_number")
    if numbers is not None and (numbers > 1).any():
        worst = int(np.argmax(np.nan_to_num(numbers)))
        warn(
            f"trajectories cross in {int((numbers > 1).sum())} of {status.size} windows: time step times velocity "
            f"gradient is {float(numbers[worst]):.3g} in {names(worst)}, and 1 is the limit; fix: a smoother motion by "
            f"a background error with a longer length, or {int(np.ceil(numbers[worst]))} steps between frames, step= "
            "of the model",
            AnalysisWarning,
        )
