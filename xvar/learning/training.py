"""Train the weights of a model by the analyses of all windows of a record."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Hashable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from xvar.errors import Faults
from xvar.execution.workers import one_torch_thread
from xvar.learning.checkpoint import identity_of, load, save
from xvar.learning.groups import Evaluation, trainable
from xvar.learning.held_out import Split, split
from xvar.learning.windows import Windows
from xvar.plan.configuration import ATTRIBUTE
from xvar.plan.method import weights_digest

logger = logging.getLogger(__name__)

Optimizer = Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer]
LEARNING_RATE = 0.01  # of the default optimiser

#: Numbers of a round -> their names in the history.
_HISTORY = {
    "cost": "mean of J at the minimum over the windows for training",
    "forecast_misfit": "mean misfit of their forecasts to the next window",
    "held_out_cost": "mean of J at the minimum over the windows held out",
    "held_out_forecast_misfit": "mean misfit of their forecasts to the next window",
    "gradient_norm": "mean norm of the gradient by the weights over the steps of the round",
    "evaluations": "evaluations of J by window for training",
    "skipped": "windows without a finite J",
}


@dataclass(frozen=True)
class Learned:
    """The result of a training.

    Attributes
    ----------
    dynamics : torch.nn.Module
        A copy of the model, with the weights of the best round: `dynamics` of any other call.
    history : Dataset
        By ``round``, of which 0 is before the first step: the mean ``cost`` and ``forecast_misfit`` of the windows for
        training, each with the weights of its last step; with those at the end of the round ``held_out_cost`` and
        ``held_out_forecast_misfit``; ``gradient_norm``, ``evaluations`` of J by window, ``skipped`` windows without a
        finite J. The attribute ``best_round`` is the round of the weights, ``weights`` their digest, which an analysis
        with them has in its configuration.
    """

    dynamics: torch.nn.Module
    history: xr.Dataset


def learn(
    data: xr.Dataset | xr.DataArray,
    variable: Hashable | None = None,
    *,
    dynamics: torch.nn.Module,
    optimizer: Optimizer | None = None,
    rounds: int = 20,
    minibatch: int = 32,
    held_out: float | slice | None = 0.2,
    patience: int = 5,
    forecast_weight: float = 0.0,
    seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Learned:
    r"""Train the weights of a model, which all windows share, by assimilation.

    .. math::

        \min_\theta \sum_w \Big[ \min_v J_w(v, \theta) + \lambda J_{o,w+1}\big(M_\theta(x_w)\big) \Big]

    A step takes the windows of a mini-batch, analyses each, and moves the weights along the gradient of the sum of J at
    the minima, which is that at fixed controls (the envelope theorem): nothing is differentiated through the minimiser.
    The next analysis of a window starts from the control of the last one. The second term compares the forecast from
    the end of the analysis, :math:`x_w`, which is a constant there, with the observations of the next window.

    Parameters
    ----------
    data : Dataset or DataArray
        The record, as for `assimilate`. If it is lazy (dask), the windows of a step are tasks, which the workers of an
        active client share; the result has the same bits.
    variable : hashable, optional
        Name of the variable, if there are several.
    dynamics : torch.nn.Module
        The model, ``model(state, seconds) -> state``, such as `xvar.dynamics.Corrected`: physics plus a network. It is
        not changed.
    optimizer : callable, optional
        Returns an optimiser of torch for given weights. Default: Adam with a learning rate of 0.01.
    rounds : int
        Passes over all windows for training, at most.
    minibatch : int
        Windows of a step, drawn anew in each round.
    held_out : float, slice of dates or None
        Windows that are never part of a gradient: a share of all, the last ones, or those in a slice of dates. Windows
        that share a frame with them are left out. The weights of the best round are kept.
    patience : int
        Stop if J of the windows held out, with the weighted forecasts, has not fallen for so many rounds.
    forecast_weight : float
        :math:`\lambda`. With 0 forecasts are compared for the history of the windows held out alone.
    seed : int
        Seed of the order of the windows, and of optimisers that draw.
    checkpoint : path, optional
        A file that is written after each round, whole or not at all. The same call again resumes from it, with the same
        bits; more `rounds` and another `patience` continue it.
    **options
        Options of `assimilate`, but for those of its output. With ``constraint="weak"`` the analyses are not bound to
        the model that is to be improved. Windows need backgrounds of their own.

    Returns
    -------
    Learned
        The trained model, and the history of its training.

    Raises
    ------
    InputError
        With all faults of the input and the options; if the model has no weights, no window is left for training, or
        the checkpoint is of another training.
    StoreError
        If the disk refuses the checkpoint: an OSError with the path.

    References
    ----------
    Bocquet, Brajard, Carrassi and Bertino (2020) Bayesian inference of chaotic dynamics by merging data assimilation,
    machine learning and expectation-maximization, doi:10.3934/fods.2020004.
    Farchi, Laloyaux, Bonavita and Bocquet (2021) Using machine learning to correct model error in data assimilation and
    forecast applications, doi:10.1002/qj.4116.

    Examples
    --------
    >>> model = xvar.dynamics.Corrected(physics, network)  # doctest: +SKIP
    >>> learned = xvar.learn(record, dynamics=model, window=9, ...)  # doctest: +SKIP
    >>> analysis = record.var4d.assimilate(dynamics=learned.dynamics, window=9, ...)  # doctest: +SKIP
    """
    _check_numbers(rounds, minibatch, patience, forecast_weight)
    model = deepcopy(dynamics)
    windows = Windows(data, variable, dynamics=model, **options)
    parts = split(windows, held_out)
    factory = optimizer or partial(torch.optim.Adam, lr=LEARNING_RATE)
    path = None if checkpoint is None else Path(checkpoint).expanduser()
    with one_torch_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if windows.device is not None:
            model.to(windows.device)
        training = _Training(windows, parts, factory(trainable(model)), minibatch, forecast_weight)
        if path is not None:
            settings = {
                "minibatch": minibatch,
                "forecast_weight": float(forecast_weight),
                "seed": seed,
                "optimizer": factory,
                "held_out": [part.tolist() for part in parts],
            }
            training.identity = identity_of(windows, settings)
            training.resume(load(path, training.identity))
        while not training.finished(rounds, patience):
            training.advance()
            if path is not None:
                save(path, training.state())
    model.load_state_dict(training.best)
    return Learned(model, _history(training))


def _check_numbers(rounds: int, minibatch: int, patience: int, forecast_weight: float) -> None:
    """Raise InputError for numbers out of their range."""
    faults = Faults()
    for name, value in (("rounds", rounds), ("minibatch", minibatch), ("patience", patience)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            faults.add(
                code="training-number",
                variable=name,
                found=f"{name}={value!r}",
                expected="a whole number from 1",
                fix=f"{name}=20",
            )
    if not 0 <= forecast_weight < math.inf:
        faults.add(
            code="training-number",
            variable="forecast_weight",
            found=f"forecast_weight={forecast_weight!r}",
            expected="a finite number, zero or more",
            fix="forecast_weight=1.0",
        )
    faults.raise_if_any()


@dataclass
class _Training:
    """State of a training between two rounds."""

    windows: Windows
    parts: Split
    optimizer: torch.optim.Optimizer
    minibatch: int
    weight: float  # of the forecasts
    identity: dict[str, str] = field(default_factory=dict)
    controls: dict[int, Tensor] = field(default_factory=dict)  # of the last analysis of each window
    rows: list[dict[str, float]] = field(default_factory=list)  # of the history, by round
    best: dict[str, Tensor] = field(default_factory=dict)  # weights of the best round

    def advance(self) -> None:
        """Do the next round; round 0 analyses all windows with the first weights."""
        training, held_out = self.parts
        if self.rows:
            order = torch.randperm(len(training)).numpy()
            batches = [training[order[i : i + self.minibatch]] for i in range(0, len(order), self.minibatch)]
            steps: list[_Step] = []
            for numbers in batches:
                self.optimizer.step(partial(self._closure, numbers, steps))  # type: ignore[arg-type]
        else:
            steps = [_Step(self._analyse(training))]
        row = _summary(steps)
        held = _summary([_Step(self._analyse(held_out))])
        row |= {f"held_out_{name}": held[name] for name in ("cost", "forecast_misfit")}
        self.rows.append(row)
        if self.best_round == len(self.rows) - 1:
            self.best = {name: part.detach().clone() for name, part in self.windows.dynamics.state_dict().items()}
        logger.info("round %d: %s", len(self.rows) - 1, ", ".join(f"{key} {value:.5g}" for key, value in row.items()))

    def _closure(self, numbers: NDArray[np.intp], steps: list[_Step]) -> Tensor:
        """Analyse the windows of a step, set the gradients of the weights, and return the mean objective."""
        found = self._analyse(numbers, self.weight)
        count = max(1, sum(int(part.cost.isfinite().sum()) for part in found))
        weights = trainable(self.windows.dynamics)
        for index, weight in enumerate(weights):
            total = sum((part.gradients[index] for part in found[1:]), found[0].gradients[index])
            weight.grad = (total / count).to(weight)
        norm = math.sqrt(sum(float(weight.grad.square().sum()) for weight in weights if weight.grad is not None))
        steps.append(_Step(found, norm))
        objective = sum(float(part.cost[part.cost.isfinite()].double().sum()) for part in found)
        forecasts = sum(float(part.forecast.double().nansum()) for part in found)
        return torch.tensor((objective + self.weight * forecasts) / count)

    def _analyse(self, numbers: NDArray[np.intp], weight: float | None = None) -> list[Evaluation]:
        """Analyse windows from their last controls; forecasts are compared with windows of the same part alone."""
        side = self.parts.held_out if np.isin(numbers, self.parts.held_out).any() else self.parts.training
        compared = frozenset(side.tolist()) if weight != 0.0 else frozenset[int]()
        found = self.windows.evaluate(numbers, self.controls, observed=compared, weight=weight)
        for part in found:
            self.controls |= zip(part.numbers.tolist(), part.controls, strict=True)
        return found

    @property
    def best_round(self) -> int:
        """Round with the least objective of the windows held out; the last round if there are none."""
        if not len(self.parts.held_out):
            return len(self.rows) - 1
        return int(np.argmin([self._held_out(row) for row in self.rows]))

    def _held_out(self, row: dict[str, float]) -> float:
        forecast = row["held_out_forecast_misfit"] if self.weight else 0.0
        value = row["held_out_cost"] + self.weight * (0.0 if math.isnan(forecast) else forecast)
        return math.inf if math.isnan(value) else value

    def finished(self, rounds: int, patience: int) -> bool:
        """Return whether all rounds are done, or too many have not lowered the objective of the windows held out."""
        done = len(self.rows) - 1
        return done >= rounds or (done >= 0 and done - self.best_round >= patience)

    def state(self) -> dict[str, Any]:
        """Return all that the following rounds depend on."""
        return {
            "identity": self.identity,
            "weights": self.windows.dynamics.state_dict(),
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "controls": self.controls,
            "rows": self.rows,
            "random": torch.get_rng_state(),
        }

    def resume(self, state: dict[str, Any] | None) -> None:
        """Continue from a checkpoint, if there is one."""
        if state is not None:
            self.windows.dynamics.load_state_dict(state["weights"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.controls, self.rows, self.best = state["controls"], state["rows"], state["best"]
            torch.set_rng_state(state["random"])


@dataclass(frozen=True)
class _Step:
    """Analyses of a step of the optimiser, and the norm of its gradient."""

    found: Sequence[Evaluation]
    norm: float = math.nan


def _summary(steps: Sequence[_Step]) -> dict[str, float]:
    """Return the numbers of a round, over the last analysis of each window."""
    cost, forecast, evaluations = dict[int, float](), dict[int, float](), 0
    for step in steps:
        for part in step.found:
            cost |= zip(part.numbers.tolist(), part.cost.tolist(), strict=True)
            forecast |= zip(part.numbers.tolist(), part.forecast.tolist(), strict=True)
            evaluations += int(part.evaluations.sum())
    return {
        "cost": _mean(cost.values()),
        "forecast_misfit": _mean(forecast.values()),
        "gradient_norm": _mean(step.norm for step in steps),
        "evaluations": evaluations / max(1, len(cost)),
        "skipped": float(sum(not math.isfinite(value) for value in cost.values())),
    }


def _mean(values: Iterable[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return math.fsum(finite) / len(finite) if finite else math.nan


def _history(training: _Training) -> xr.Dataset:
    """Return the history of a training."""
    rows, windows = training.rows, training.windows
    variables = {
        name: ("round", np.array([row[name] for row in rows]), {"long_name": words, "units": "1"})
        for name, words in _HISTORY.items()
    }
    attrs = {
        "best_round": training.best_round,
        "weights": weights_digest(windows.dynamics),
        "windows_for_training": len(training.parts.training),
        "windows_held_out": len(training.parts.held_out),
        ATTRIBUTE: windows.plan.configuration.to_json(),
    }
    numbers = np.arange(len(rows), dtype="int32")
    rounds = ("round", numbers, {"long_name": "round; 0 is before the first step", "units": "1"})
    return xr.Dataset(variables, {"round": rounds}, attrs)
