"""4D-Var with a model, covariances and observations that the user states, forward in time from the window's start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from xvar import errors
from xvar.core.cost_history import CostHistory, Minimisation, minimisations
from xvar.core.covariance import Diagonal, grown
from xvar.core.digital_filter import DigitalFilter
from xvar.core.dynamics import State, trajectory
from xvar.core.grid import Grid, bind
from xvar.core.methods.image_motion import costs_of, deviation, fitting, status_of
from xvar.core.minimize import LBFGS
from xvar.core.observation import Component, Compose, Observation, Operator
from xvar.core.parameters import Calibrated, Holding, Parameter
from xvar.core.problem import ForcedSteps, Problem, TimeInterpolation, frame_steps
from xvar.core.solve import Analysis, solve

ForcingInterval = Literal["step", "interval", "window"]

FORCING_INTERVALS: tuple[ForcingInterval, ...] = ("step", "interval", "window")


@dataclass(frozen=True)
class ModelError:
    r"""Error of a model, to be estimated: :math:`x_{i+1} = M_i(x_i) + \eta_i`, :math:`\eta \sim N(0, Q T)`.

    Parameters
    ----------
    covariance : specification, or mapping of component to specification
        Q in a second: what acts for T seconds has the variance Q T, however many steps those are.
    forcing_interval : {"step", "interval", "window"}
        Whether the error is one field for each step, one for all steps between two frames, or one for the whole window
        (a bias).
    """

    covariance: Any
    forcing_interval: ForcingInterval = "interval"

    def __post_init__(self) -> None:
        """Refuse what is no way to act."""
        if self.forcing_interval not in FORCING_INTERVALS:
            words = ", ".join(map(repr, FORCING_INTERVALS))
            raise errors.InputError(
                errors.Fault(
                    f"forcing_interval={self.forcing_interval!r}",
                    f"one of {words}",
                    f"forcing_interval={FORCING_INTERVALS[1]!r}",
                )
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
    gain, offset : Parameter, optional
        The variable is observed as :math:`a x + b`, a and b estimated along: an instrument that is not quite
        calibrated, images whose mean drifts. A number each; offsets in the units of the variable.
    calibration : {"frame", "window"}
        Whether every frame has a gain and an offset of its own, or all frames of a window the same.
    """

    transform: Any = None
    threshold: float | None = None
    reset: Literal["observation"] | None = None
    time_interpolation: TimeInterpolation = "linear"
    gain: Parameter | None = None
    offset: Parameter | None = None
    calibration: Literal["frame", "window"] = "frame"

    def __post_init__(self) -> None:
        """Refuse what calibrates nothing."""
        faults = errors.Faults()
        if self.calibration not in ("frame", "window"):
            faults.add(
                found=f"calibration={self.calibration!r}",
                expected="one of 'frame', 'window'",
                fix="calibration='frame'",
            )
        for name, parameter in (("gain", self.gain), ("offset", self.offset)):
            if parameter is not None and (not isinstance(parameter, Parameter) or parameter.is_field):
                faults.add(
                    found=f"{name}={parameter!r}",
                    expected="a Parameter that is a number",
                    fix=f"{name}=xvar.control.Parameter(prior={1.0 if name == 'gain' else 0.0}, error=...)",
                )
        if self.parameters and self.reset:
            faults.add(
                found='a gain or an offset with reset="observation"',
                expected="states that stay in the units of the model",
                fix="leave reset out",
            )
        faults.raise_if_any()

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Those that are estimated along."""
        both = {"gain": self.gain, "offset": self.offset}
        return {name: parameter for name, parameter in both.items() if parameter is not None}


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
    forcing_interval : {"step", "interval", "window"}
        See `ModelError`.
    observation : Images
        How frames are compared.
    step : float, optional
        Longest step in seconds; by default one step leads from frame to frame.
    growth : mapping of str to specification
        Q of each component by which B has grown, per second; see `following`.
    elapsed : float
        Seconds for which it has grown.
    first_frame : bool
        Whether the first frame is observed; where it is the background it is not.
    shared_error : bool
        Whether an observed component of the background for which no error is stated has that of `error`, or, where it
        is the larger, its deviation from the first frame.
    error : float
        Standard deviation of an observation, and of the observed component of the background, over that of the frames
        in the window, where no other is stated.
    measured : tuple of str
        Components whose curvature is measured beforehand, see `Problem`.
    parameters : mapping of str to Parameter
        Static parameters of the model, by the names under which its state holds them.
    penalties : tuple of DigitalFilter
        Terms of J on the trajectory.
    checkpoint : bool
        Trade time for memory.
    levels, minimizer
        See `solve`.
    cost_history : bool
        Whether J is told by evaluation.
    """

    dynamics: Any
    observed: str
    background_error: Mapping[str, Any]
    model_error: Mapping[str, Any] = field(default_factory=dict)
    forcing_interval: ForcingInterval = "interval"
    observation: Images = field(default_factory=Images)
    step: float | None = None
    growth: Mapping[str, Any] = field(default_factory=dict)
    elapsed: float = 0.0
    first_frame: bool = False
    shared_error: bool = False
    error: float = 0.2
    measured: tuple[str, ...] = ()
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    penalties: tuple[DigitalFilter, ...] = ()
    checkpoint: bool = False
    levels: tuple[int, ...] = (1,)
    minimizer: LBFGS = field(default_factory=LBFGS)
    cost_history: bool = False

    def minimisations(self, grid: Grid) -> list[Minimisation]:
        """Those of all levels."""
        return minimisations(fitting(self.levels, grid), self.minimizer)

    def following(
        self, state: State, lead: float, elapsed: float, frame: float, grid: Grid
    ) -> tuple[Experiment, State]:
        r"""What is solved in the next window of a chain, and its background.

        The background is the forecast, without model error, of the analysis of the window before, from its last frame
        to the first of this one. B, which is that of the analysis at the beginning of each window, has grown by the
        model error in between,

        .. math:: x_b^{k+1} = M(x_a^k), \quad B_{k+1} = B + (t_{k+1} - t_k)\, Q,

        with :math:`t_k` the first frame of window k. Only the mean is carried: B is neither moved by the model nor made
        less by what was observed, and grows from one window alone. The first frame is an observation like any other.

        Parameters
        ----------
        state : dict of Tensor (window, component, y, x)
            The analysis at the last frame of the window before.
        lead : float
            Seconds from that frame to the first of this window.
        elapsed : float
            :math:`t_{k+1} - t_k`.
        frame : float
            Longest step of the forecast where the model states none.
        grid : Grid
        """
        like = next(iter(state.values()))
        steps = frame_steps([0.0, lead], self.step or frame)
        *_, background = trajectory(bind(self.dynamics, grid, like), state, steps)
        shared = self.shared_error or not self.first_frame
        return replace(self, first_frame=True, shared_error=shared, elapsed=elapsed), background

    def completed(self, background: State, frames: Tensor) -> State:
        """The whole state: where the observed component is left out the first frame is its background."""
        return background if self.observed in background else {**background, self.observed: first_known(frames)}

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
        compared = frames if transform is None else transform(frames)
        if std is None:
            std = self._scaled_error(compared)
        std = std.expand(frames.shape)
        errors, shared = dict(self.background_error), self.shared_error or self.observed not in background
        background = self.completed(background, frames)
        if shared and self.observed not in errors:
            errors[self.observed] = Diagonal(self._error_of(background[self.observed], frames))
        if self.elapsed > 0:
            errors |= {
                key: grown(errors.get(key), model, self.elapsed, background[key].shape[1])
                for key, model in self.growth.items()
            }
        observations = tuple(
            Observation(
                time=seconds[index],
                operator=self._operator(index),
                values=compared[:, index, None],
                std=std[:, index, None],
                threshold=self.observation.threshold,
                replaces=None if self.observation.reset is None else self.observed,
            )
            for index in range(0 if self.first_frame else 1, len(seconds))
        )
        steps = frame_steps(seconds, self.step)
        model, background, errors = self._with_parameters(background, errors, len(seconds), grid)
        return Problem(
            grid=grid,
            dynamics=model,
            steps=steps,
            background=background,
            background_error=errors,
            parameters=(*self.parameters, *self.observation.parameters),
            penalties=self.penalties,
            observations=observations,
            model_error=self._model_error(steps, seconds) if self.model_error else None,
            time_interpolation=self.observation.time_interpolation,
            curvature=self._curvature(observations) if transform is None else {},
            measured=self.measured,
            checkpoint=self.checkpoint,
        )

    def _image(self, index: int) -> Operator:
        """From a state to what a frame shows, in the units of the variable."""
        operator: Operator = Component(self.observed)
        images = self.observation
        if images.parameters:
            operator = Calibrated(operator, images.gain, images.offset, index if images.calibration == "frame" else 0)
        return operator

    def _operator(self, index: int) -> Operator:
        """From a state to what is compared with a frame."""
        operator, transform = self._image(index), self.observation.transform
        return operator if transform is None else Compose(operator, transform)

    def _with_parameters(
        self, background: State, errors: Mapping[str, Any], frames: int, grid: Grid
    ) -> tuple[Any, State, dict[str, Any]]:
        """The model, the background and its errors, with the parameters that are in the control."""
        calibration = self.observation.parameters
        known = {**self.parameters, **calibration}
        if not known:
            return self.dynamics, background, dict(errors)
        like = next(iter(background.values()))
        counts = dict.fromkeys(calibration, frames if self.observation.calibration == "frame" else 1)
        return (
            Holding(self.dynamics, self.parameters, tuple(calibration)),
            {
                **background,
                **{
                    name: parameter.background(len(like), counts.get(name, 1), grid, like)
                    for name, parameter in known.items()
                },
            },
            {**errors, **{name: parameter.specification for name, parameter in known.items()}},
        )

    def _estimated(self, state: State) -> dict[str, Tensor]:
        """The parameters of an analysis: (window,), (window, frame) or (window, y, x)."""
        found = {}
        for name, parameter in {**self.parameters, **self.observation.parameters}.items():
            values = parameter.value(state[name])
            per_frame = name in self.observation.parameters and self.observation.calibration == "frame"
            found[name] = values[:, 0] if parameter.is_field else values.flatten(1)
            found[name] = found[name] if parameter.is_field or per_frame else found[name][:, 0]
        return found

    def _error_of(self, background: Tensor, frames: Tensor) -> Tensor:
        """The error of an observed component for which none is stated (window, 1, 1, 1).

        A background of the user's own is off by what the first frame says: were it held, or trusted too much, the
        motion would have to carry it there from somewhere.
        """
        scaled = self._scaled_error(frames)
        if self.elapsed > 0:
            return scaled
        valid = frames.isfinite().any(dim=1, keepdim=True)
        off = torch.where(valid, first_known(frames) - background, torch.zeros_like(background)).square()
        count = valid.flatten(1).sum(1).clamp_min(1)
        return torch.maximum(scaled, (off.flatten(1).sum(1) / count).sqrt()[:, None, None, None])

    def _scaled_error(self, frames: Tensor) -> Tensor:
        """A share of the deviation of each window (window, 1, 1, 1); one where nothing varies."""
        spread = deviation(frames)
        return torch.where(spread > 0, self.error * spread, torch.ones_like(spread))

    def _model_error(self, steps: Sequence[float], seconds: Sequence[float]) -> ForcedSteps:
        if self.forcing_interval == "step":
            return ForcedSteps(self.model_error, tuple((index,) for index in range(len(steps))))
        if self.forcing_interval == "window":
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
        if not seen:
            return {}
        weights = [torch.where(o.mask, o.std**-2, 0.0) for o in observations]
        known: dict[str, Tensor] = {self.observed: sum(weights[: len(seen)])}  # type: ignore[dict-item]
        for name, parameter in self.observation.parameters.items():
            squares = [o.values.square() if name == "gain" else torch.ones_like(o.values) for o in observations]
            sums = [(w * part).flatten(1).sum(1) for w, part in zip(weights, squares, strict=True)]
            if self.observation.calibration == "frame":
                unseen = [torch.zeros_like(sums[0])] * (0 if self.first_frame else 1)
                by_value = torch.stack([*unseen, *sums], dim=1)
            else:
                by_value = torch.stack(sums, dim=1).sum(1, keepdim=True)
            # Of its logarithm, where that is estimated.
            scale = parameter.prior**2 if parameter.positive else 1.0
            known[name] = scale * by_value.reshape(*by_value.shape, *(1,) * (weights[0].ndim - 2))
        return known

    def analyse(
        self,
        frames: Tensor,
        std: Tensor | None,
        background: State,
        seconds: Sequence[float],
        grid: Grid,
        save: Sequence[str] = (),
    ) -> tuple[list[State], list[State], dict[str, Tensor], dict[str, State]]:
        r"""Analyse a batch of windows: see `problem` for the other parameters.

        Parameters
        ----------
        save : sequence of {"increment", "innovation", "residual"}
            What is wanted beside the analysis.

        Returns
        -------
        states : list of dict of Tensor
            The state at each frame.
        forcing : list of dict of Tensor
            The model error of each interval or step in which it acts, per second; empty for the strong constraint.
        numbers : dict of Tensor (window, ...)
            ``cost`` and its terms (window, stage), ``gradient_norm``, ``evaluations``, ``number_of_observations`` and
            ``status`` (window,); the parameters by their names; of a cost history, what `CostHistory.numbers` gives.
        saved : dict of dict of Tensor
            By the words of `save`: :math:`x_a - x_b` of each component (window, component, y, x) at the beginning,
            nothing where it is not in the control; :math:`y_k - H_k(x_b)` and :math:`y_k - H_k(x_a)` of the observed
            one (window, frame, y, x), before any transform.
        """
        problem = self.problem(frames, std, background, seconds, grid)
        cost_history = CostHistory(len(frames), self.minimisations(grid)) if self.cost_history else None
        result = solve(problem, self.minimizer, levels=fitting(self.levels, grid), cost_history=cost_history)
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
                **self._estimated(result.trajectory[0]),
                **({} if cost_history is None else cost_history.numbers()),
            },
            {word: self._saved(word, result, frames, at_frames) for word in save},
        )

    def _saved(self, word: str, result: Analysis, frames: Tensor, at_frames: Sequence[int]) -> State:
        """One of the fields that are written on request, see `analyse`."""
        if word == "increment":
            return {
                key: result.increment.get(key, torch.zeros_like(values)) for key, values in result.trajectory[0].items()
            }
        control = result.cost.zero() if word == "innovation" else result.minimum.control
        states = result.cost.trajectory(control, as_observed=True)
        shown = [self._image(index)(states[step])[:, 0] for index, step in enumerate(at_frames)]
        return {self.observed: frames - torch.stack(shown, dim=1)}


def first_known(frames: Tensor) -> Tensor:
    """The first frame (window, 1, y, x), holes filled from later ones, and by the mean where nothing is ever known."""
    known = frames[:, :1]
    for index in range(1, frames.shape[1]):
        known = torch.where(known.isfinite(), known, frames[:, index, None])
    valid = known.isfinite()
    clean = torch.where(valid, known, torch.zeros_like(known))
    mean = clean.flatten(1).sum(1) / valid.flatten(1).sum(1).clamp_min(1)
    return torch.where(valid, known, mean[:, None, None, None])
