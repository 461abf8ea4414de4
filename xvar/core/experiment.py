"""4D-Var with a model, covariances and observations that the user states, forward in time from the window's start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from xvar import errors
from xvar.core.covariance import Diagonal
from xvar.core.dynamics import State
from xvar.core.grid import Grid
from xvar.core.minimize import LBFGS
from xvar.core.motion import costs_of, deviation, fitting, status_of
from xvar.core.observation import Component, Compose, Observation
from xvar.core.problem import ForcedSteps, Problem, TimeInterpolation, frame_steps
from xvar.core.solve import solve

Acting = Literal["step", "interval", "window"]

ACTING: tuple[Acting, ...] = ("step", "interval", "window")


@dataclass(frozen=True)
class ModelError:
    r"""Error of a model, to be estimated: :math:`x_{i+1} = M_i(x_i) + \eta_i`, :math:`\eta \sim N(0, Q T)`.

    Parameters
    ----------
    covariance : specification, or mapping of component to specification
        Q in a second: what acts for T seconds has the variance Q T, however many steps those are.
    acting : {"step", "interval", "window"}
        Whether the error is one field for each step, one for all steps between two frames, or one for the whole window
        (a bias).
    """

    covariance: Any
    acting: Acting = "interval"

    def __post_init__(self) -> None:
        """Refuse what is no way to act."""
        if self.acting not in ACTING:
            words = ", ".join(map(repr, ACTING))
            raise errors.InputError(
                errors.Problem(f"acting={self.acting!r}", f"one of {words}", f"acting={ACTING[1]!r}")
            )


@dataclass(frozen=True)
class Images:
    r"""How the frames of the record enter J_o: the variable itself, on its grid, at the time of each frame.

    Parameters
    ----------
    transform : callable, optional
        What is compared, of state and observation alike, such as `SquareRoot`.
    threshold : float, optional
        c of the pseudo-Huber norm in standard deviations; without it the norm is quadratic.
    reset : {None, "observation"}
        ``"observation"`` replaces the variable by each frame after its misfit was taken (direct insertion), as the
        paper does. This cuts the adjoint of the tracer: such a window is no strong-constraint 4D-Var.
    time_interpolation : {"linear", "nearest"}
        How the state is found at a frame between two steps.
    """

    transform: Any = None
    threshold: float | None = None
    reset: Literal["observation"] | None = None
    time_interpolation: TimeInterpolation = "linear"


@dataclass(frozen=True)
class Experiment:
    """A 4D-Var of the user's own making.

    Parameters
    ----------
    dynamics : specification or callable (state, seconds) -> state
        The model.
    observed : str
        Key of the component that is observed.
    background_error : mapping of str to specification
        B of each component in the control.
    model_error : mapping of str to specification
        Q of each forced component, per second; empty for the strong constraint.
    acting : {"step", "interval", "window"}
        See `ModelError`.
    observation : Images
        How frames are compared.
    step : float, optional
        Longest step in seconds; by default one step leads from frame to frame.
    first_frame : bool
        Whether the first frame is observed; where it is the background it is not.
    error : float
        Standard deviation of an observation, and of the observed component of the background, over that of the frames
        in the window, where no other is stated.
    checkpoint : bool
        Trade time for memory.
    levels, minimizer
        See `solve`.
    """

    dynamics: Any
    observed: str
    background_error: Mapping[str, Any]
    model_error: Mapping[str, Any] = field(default_factory=dict)
    acting: Acting = "interval"
    observation: Images = field(default_factory=Images)
    step: float | None = None
    first_frame: bool = False
    error: float = 0.2
    checkpoint: bool = False
    levels: tuple[int, ...] = (1,)
    minimizer: LBFGS = field(default_factory=LBFGS)

    def problem(
        self, frames: Tensor, std: Tensor | None, background: State, seconds: Sequence[float], grid: Grid
    ) -> Problem:
        """The problem of a batch of windows.

        Parameters
        ----------
        frames : Tensor (window, frame, y, x)
            The observed variable, NaN where nothing was observed.
        std : Tensor, broadcastable to `frames`, or None
            Standard deviation of the error of observation.
        background : dict of Tensor (window, component, y, x)
            The whole state; the observed component may be left out, the first frame is then its background.
        seconds : sequence of float
            Time of each frame after the first.
        grid : Grid
        """
        transform = self.observation.transform
        operator = Component(self.observed) if transform is None else Compose(Component(self.observed), transform)
        compared = frames if transform is None else transform(frames)
        if std is None:
            std = self._scaled_error(compared)
        std = std.expand(frames.shape)
        errors = dict(self.background_error)
        if self.observed not in background:
            background = {**background, self.observed: first_known(frames)}
            if self.observed not in errors:
                errors[self.observed] = Diagonal(self._scaled_error(frames))
        observations = tuple(
            Observation(
                time=seconds[index],
                operator=operator,
                values=compared[:, index, None],
                std=std[:, index, None],
                threshold=self.observation.threshold,
                replaces=None if self.observation.reset is None else self.observed,
            )
            for index in range(0 if self.first_frame else 1, len(seconds))
        )
        steps = frame_steps(seconds, self.step)
        return Problem(
            grid=grid,
            dynamics=self.dynamics,
            steps=steps,
            background=background,
            background_error=errors,
            observations=observations,
            model_error=self._model_error(steps, seconds) if self.model_error else None,
            time_interpolation=self.observation.time_interpolation,
            curvature=self._curvature(observations) if transform is None else {},
            checkpoint=self.checkpoint,
        )

    def _scaled_error(self, frames: Tensor) -> Tensor:
        """A share of the deviation of each window (window, 1, 1, 1); one where nothing varies."""
        spread = deviation(frames)
        return torch.where(spread > 0, self.error * spread, torch.ones_like(spread))

    def _model_error(self, steps: Sequence[float], seconds: Sequence[float]) -> ForcedSteps:
        if self.acting == "step":
            return ForcedSteps(self.model_error, tuple((index,) for index in range(len(steps))))
        if self.acting == "window":
            return ForcedSteps(self.model_error, (tuple(range(len(steps))),))
        ends = torch.tensor(steps, dtype=torch.float64).cumsum(0)
        interval = torch.searchsorted(torch.tensor(seconds[1:], dtype=torch.float64) + 1e-6, ends)
        groups = [torch.nonzero(interval == index).flatten().tolist() for index in range(len(seconds) - 1)]
        return ForcedSteps(self.model_error, tuple(tuple(group) for group in groups))

    def _curvature(self, observations: Sequence[Observation]) -> dict[str, Tensor]:
        """How well the first frames determine the observed component, were it not to move.

        After a reset only the first observation sees the initial state.
        """
        seen = observations[:1] if self.observation.reset else observations
        return {self.observed: sum(torch.where(o.mask, o.std**-2, 0.0) for o in seen)} if seen else {}  # type: ignore[dict-item]

    def analyse(
        self, frames: Tensor, std: Tensor | None, background: State, seconds: Sequence[float], grid: Grid
    ) -> tuple[list[State], list[State], dict[str, Tensor]]:
        """Analyse a batch of windows: see `problem` for the parameters.

        Returns
        -------
        states : list of dict of Tensor
            The state at each frame.
        forcing : list of dict of Tensor
            The model error of each interval or step in which it acts, per second; empty for the strong constraint.
        numbers : dict of Tensor (window, ...)
            ``cost`` and its terms (window, stage), ``gradient_norm``, ``evaluations``, ``number_of_observations`` and
            ``status`` (window,).
        """
        problem = self.problem(frames, std, background, seconds, grid)
        result = solve(problem, self.minimizer, levels=fitting(self.levels, grid))
        count = problem.number_of_observations()
        times = torch.tensor(problem.times(), dtype=torch.float64)
        at_frames = torch.searchsorted(times + 1e-6, torch.tensor(seconds, dtype=torch.float64)).tolist()
        groups = () if problem.model_error is None else problem.model_error.steps
        forcing = [
            {key: error / abs(problem.steps[group[0]]) for key, error in result.forcing[group[0]].items()}
            for group in groups
        ]
        return (
            [result.trajectory[index] for index in at_frames],
            forcing,
            {
                **costs_of(result),
                "gradient_norm": result.minimum.gradient_norm,
                "evaluations": result.minimum.evaluations,
                "number_of_observations": count,
                "status": status_of(result, count == 0),
            },
        )


def first_known(frames: Tensor) -> Tensor:
    """The first frame (window, 1, y, x), holes filled from later ones, and by the mean where nothing is ever known."""
    known = frames[:, :1]
    for index in range(1, frames.shape[1]):
        known = torch.where(known.isfinite(), known, frames[:, index, None])
    valid = known.isfinite()
    clean = torch.where(valid, known, torch.zeros_like(known))
    mean = clean.flatten(1).sum(1) / valid.flatten(1).sum(1).clamp_min(1)
    return torch.where(valid, known, mean[:, None, None, None])
