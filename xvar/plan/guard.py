"""What stands around the solver of every batch: gross errors out of its input, and what went wrong named behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvar.cf.grid import HorizontalGrid
from xvar.cf.metadata import STATUS
from xvar.errors import AnalysisWarning, DivergedError, Fault, InputError, warn
from xvar.quality.artefacts import artefacts
from xvar.quality.values import Screen

Array = NDArray[Any]
Solve = Callable[..., Mapping[str, Array]]

NOT_CONVERGED, DIVERGED = (STATUS.index(word) for word in ("not_converged", "diverged"))


@dataclass(frozen=True)
class Guard:
    """A solver that takes values of any kind.

    Values that are no observation (infinite, beyond what the variable can be, fill values that nobody declared,
    artefacts of instruments) are taken as missing and counted, window by window, so that no bit depends on what else is
    in the call.

    Attributes
    ----------
    solve : callable (frames (window, frame, y, x), seconds) -> mapping of str to array (window, ...)
        What it stands around.
    screen : Screen
        What is no observation.
    grid : HorizontalGrid
        Of the frames.
    step : float or None
        Longest step of the model in seconds, where it is shorter than the time between frames.
    refuse : bool
        Raise where values are found that are refused where the data are in memory: for lazy data nobody has looked.
    strict : bool
        Raise where values are infinite.
    artefacts : bool
        Look for them too, see `xvar.quality.artefacts`.
    """

    solve: Solve
    screen: Screen
    grid: HorizontalGrid
    step: float | None = None
    refuse: bool = False
    strict: bool = False
    artefacts: bool = False

    def __call__(self, frames: Array, seconds: tuple[float, ...], *cycle_state: Any) -> dict[str, Array]:
        """Solve one batch; where windows form chains, the one window of it with what it takes over.

        Raises
        ------
        InputError
            Where values are refused.
        DivergedError
            Where J of a window is not finite at the background.
        """
        stated = frames.ndim == 5  # standard deviations of the errors lie behind the frames
        images = frames[:, :, 0] if stated else frames
        rejected = np.stack([self._rejected(window) for window in images])
        if rejected.any():
            images = np.where(rejected, np.nan, images).astype(images.dtype if images.dtype.kind == "f" else float)
            frames = np.stack([images, frames[:, :, 1].astype(images.dtype)], axis=2) if stated else images
        results = dict(self.solve(frames, seconds, *cycle_state))
        _refuse_divergence(results, self.screen.variable)
        results["number_of_rejected_observations"] = rejected.sum(axis=(1, 2, 3)).astype("int32")
        if {"u", "v"} <= set(results):
            longest = float(np.diff(seconds).max())
            step = longest if self.step is None else min(self.step, longest)
            results["deformation_number"] = step * deformation(results["u"], results["v"], self.grid)
        return results

    def _rejected(self, window: Array) -> NDArray[np.bool_]:
        if self.refuse or self.strict:
            problem = self.screen.problem(window, strict=self.strict, fill=self.refuse)
            if problem is not None:
                raise InputError(problem)
        rejected = self.screen.rejected(window)
        if not self.artefacts:
            return rejected
        clean = np.where(rejected, np.nan, window) if rejected.any() else window
        return rejected | artefacts(clean, self.screen.kind)


def _refuse_divergence(results: Mapping[str, Array], variable: str) -> None:
    """Raise where J has no value to start from; what diverges later keeps its best iterate."""
    if np.isfinite(results["cost"][:, 0]).all():
        return
    terms = [
        name.removeprefix("cost_")
        for name, values in results.items()
        if name.startswith("cost_") and not np.isfinite(values[:, 0]).all()
    ]
    raise DivergedError(
        Fault(
            found=f"J is {results['cost'][:, 0].sum():g} at the background, by its term {' and '.join(terms) or 'J'}",
            expected="a model, observations and errors that give a finite J at the background",
            fix="see xvar.check.dynamics(model, state) for the model; a shorter step, or errors that are not zero",
            variable=variable,
        )
    )


def deformation(u: Array, v: Array, grid: HorizontalGrid) -> Array:
    """Largest spectral norm of the gradient of a motion in each window, in s-1.

    Parameters
    ----------
    u, v : array (window, ..., y, x)
        In m s-1, NaN on land.
    grid : HorizontalGrid
        Its spacing.

    Returns
    -------
    array (window,)
        Trajectories of a step of dt cross where dt times this is above one [1]_.

    References
    ----------
    .. [1] Smolarkiewicz, P. K. and Pudykiewicz, J. A. (1992). A class of semi-Lagrangian approximations for fluids.
       Journal of the Atmospheric Sciences 49, 2082-2096. doi:10.1175/1520-0469(1992)049<2082:ACOSLA>2.0.CO;2
    """
    dy, dx = grid.spacing if grid.metric is None else _in_order(grid)
    parts = [(np.gradient(w.astype("float64"), axis=-1) / dx, np.gradient(w, axis=-2) / dy) for w in (u, v)]
    (ux, uy), (vx, vy) = parts
    # Largest singular value of a matrix of two rows.
    square, determinant = ux**2 + uy**2 + vx**2 + vy**2, ux * vy - uy * vx
    largest = np.sqrt((square + np.sqrt(np.maximum(square**2 - 4 * determinant**2, 0))) / 2)
    flat = np.where(np.isfinite(largest), largest, 0.0).reshape(len(u), -1)
    return np.asarray(flat.max(axis=1))


def _in_order(grid: HorizontalGrid) -> tuple[Array, Array]:
    """Local spacing in the order of the input."""
    assert grid.metric is not None
    y, x = (slice(None, None, 1 if up else -1) for up in grid.ascending)
    return grid.metric[0][y, x], grid.metric[1][y, x]


def warn_of(
    arrays: Mapping[str, Array], names: Callable[[int], str], fastest: tuple[float, float] | None = None
) -> None:
    """Warn of windows whose analysis is not what was asked for.

    Parameters
    ----------
    arrays : mapping of str to array (window, ...)
        In memory.
    names : callable (window) -> str
        How a window is named.
    fastest : tuple of float, optional
        Speeds along x and y, in m s-1, that carry everything off the grid in a step: no image shows a motion that fast.
    """
    status = arrays["status"]
    for code, words, fix in (
        (NOT_CONVERGED, "not converged", "minimizer=xvar.minimize.LBFGS(max_evaluations=...) allows more"),
        (DIVERGED, "diverged: the best iterate is kept", "a shorter step of the model, or larger observation errors"),
    ):
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
            f"gradient is {float(numbers[worst]):.3g} in {names(worst)}, where 1 is the limit; a smoother motion (a "
            f"background error with a longer length), or {int(np.ceil(numbers[worst]))} steps between frames (step= of "
            "the model)",
            AnalysisWarning,
        )
