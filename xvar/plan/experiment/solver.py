"""Solver of the state at the beginning of windows: the methods advection and model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from xvar.execution.batches import WindowBatch
from xvar.plan.bridge import Array, Bridge
from xvar.plan.solver import Variable

if TYPE_CHECKING:
    from torch import Tensor

    from xvar.core.methods.experiment import Experiment, Outcome, Source
    from xvar.core.problem import Problem
    from xvar.plan.experiment.observations import Observed
    from xvar.plan.experiment.state import Background, State


@dataclass(frozen=True)
class ExperimentSolver:
    """Solver of the state at the beginning of windows.

    Windows with observations beside the record are solved one by one, as each has its own times.
    """

    experiment: Experiment
    name: str  # of the variable of the record; if it has no background the first frame is that
    bridge: Bridge
    outputs: Mapping[str, Variable]
    state: State
    background: Background
    observed: Observed
    windows: Sequence[tuple[float, float]]  # every window of the call, see `windows_of`
    cycled: float | None = None  # if windows are: longest step of a forecast by a model that states none
    save: tuple[str, ...] = ()

    def __call__(self, batch: WindowBatch) -> dict[str, Array]:
        """Return every variable of the state at every frame, forcings, equivalents of points, and diagnostics."""
        if len(batch) == 1 or not self.observed.beside_record:
            return self._solve(batch)
        alone = [slice(index, index + 1) for index in range(len(batch))]
        parts = [
            self._solve(replace(batch, frames=batch.frames[one], numbers=batch.numbers[one], begin=batch.begin[one]))
            for one in alone
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def problem(self, batch: WindowBatch) -> Problem:
        """Return the problem of a batch."""
        experiment, background = self._prior(batch)
        sources = self._sources(batch, self.bridge.without_land(batch.frames))
        return experiment.problem(sources, background, batch.seconds, self.bridge.core_grid())

    def _solve(self, batch: WindowBatch) -> dict[str, Array]:
        frames = self.bridge.without_land(batch.frames)
        experiment, background = self._prior(batch)
        sources = self._sources(batch, frames)
        departures = [word for word in self.save if word in ("innovation", "residual")]
        outcome = experiment.analyse(sources, background, batch.seconds, self.bridge.core_grid(), departures)
        results = {key: self.bridge.array(values) for key, values in outcome.numbers.items()}
        results |= self._fields(outcome.states)
        if outcome.forcing:
            results |= self._fields(outcome.forcing, "_forcing")
        if "increment" in self.save:
            results |= self._field(outcome.increment, "_increment")
        if self.observed.record is not None:
            results[f"{self.name}_observed"] = frames[:, -1]
        for word, fields in outcome.departures.items():
            for label, field in zip(self.observed.labels(self.name), fields, strict=True):
                results[f"{label}_{word}"] = self.bridge.array(field)
        if self.cycled is not None:
            results |= self._field(experiment.completed(sources, background), "_background")
            results["background_source"] = np.full(len(batch), batch.cycle_state is not None, dtype="int8")
        if self.observed.points is not None:
            results |= self._equivalents(outcome, batch)
        return self._padded(results)

    def _window(self, batch: WindowBatch) -> tuple[float, float]:
        """Return the beginning and the length of the one window of a batch."""
        return min(self.windows, key=lambda window: abs(window[0] - batch.begin[0]))

    def _prior(self, batch: WindowBatch) -> tuple[Experiment, dict[str, Tensor]]:
        """Return the experiment and the background: as stated, or the forecast of the window before."""
        state, bridge = batch.cycle_state, self.bridge
        fields = self.background.at(batch.begin)
        if state is not None:
            fields = {name: self._filled(part, name)[None] for name, part in state.fields.items()}
        known = {
            key: bridge.tensor(np.stack([fields[name] for name in names], axis=1))
            for key, names in self.state.components.items()
            if set(names) <= set(fields)
        }
        if state is None:
            return self.experiment, known
        assert self.cycled is not None
        return self.experiment.following(known, state.lead, state.elapsed, self.cycled, bridge.core_grid())

    def _filled(self, values: Array, name: str) -> Array:
        """Fill land with numbers, which a sampler at the coast needs: the mean of the sea; nothing flows through it."""
        land = self.bridge.land
        if land is None:
            return values
        if name in self.state.staggered:
            return np.nan_to_num(values)
        return np.where(land, values[~land].mean(dtype="float64"), values).astype(values.dtype)

    def _sources(self, batch: WindowBatch, frames: Array) -> list[Source]:
        """Return the observations of the windows."""
        observed = self.observed
        sources: list[Source] = []
        if observed.record is not None:
            sources.append(observed.record.frames(batch, frames, self.bridge))
        if observed.beside_record:
            window = self._window(batch)
            sources += [source.frames(*window, self.bridge) for source in observed.images]
            sources += [] if observed.points is None else observed.points.tables(*window, self.bridge)
        return sources

    def _fields(self, states: Sequence[Mapping[str, Tensor]], suffix: str = "") -> dict[str, Array]:
        """Return the variables (window, state, y, x) of some states; some may lack a component."""
        return {
            name + suffix: np.stack([self.bridge.array(state[key][:, index]) for state in states], axis=1)
            for name, (key, index) in self.state.parts.items()
            if key in states[0]
        }

    def _field(self, state: Mapping[str, Tensor], suffix: str) -> dict[str, Array]:
        """Return the variables (window, y, x) of one state."""
        return {name: values[:, 0] for name, values in self._fields([state], suffix).items()}

    def _equivalents(self, outcome: Outcome, batch: WindowBatch) -> dict[str, Array]:
        """Return the equivalents of the points of a window, in the order of their rows."""
        points = self.observed.points
        assert points is not None
        by_source = np.argsort(points.source[points.used(*self._window(batch))], kind="stable")
        results = {}
        for name in ("background", "analysis"):
            values = np.concatenate([self.bridge.array(part[name]) for part in outcome.points])
            found = np.full((1, points.size), np.nan, dtype=values.dtype)
            found[0, by_source] = values
            results[f"observation_{name}"] = found
        return results

    def _padded(self, results: dict[str, Array]) -> dict[str, Array]:
        """Fill up what images beside the record give of each: windows hold different numbers of them."""
        sizes = self.observed.sizes
        for name, part in self.outputs.items():
            size = sizes.get(part.dims[0]) if part.dims else None
            if size is not None and results[name].shape[1] < size:
                values = results[name]
                whole = np.full((len(values), size, *values.shape[2:]), np.nan, dtype=values.dtype)
                whole[:, : values.shape[1]] = values
                results[name] = whole
        return results
