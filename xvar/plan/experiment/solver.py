"""Solver of the state at the beginning of windows: the methods advection and model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from xvar.core.methods.experiment import Experiment, Outcome, Source
from xvar.core.problem import Problem
from xvar.execution.batches import WindowBatch
from xvar.plan.bridge import Array, Bridge
from xvar.plan.experiment.observations import Observed
from xvar.plan.experiment.state import Background, State
from xvar.plan.solver import Variable
from xvar.plan.uncertainty import ERRORS, seeds_of

_SUFFIXES = (*ERRORS, "_increment", "_forcing", *(f"_forcing{suffix}" for suffix in ERRORS))


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
    windows: Sequence[tuple[float, float]]  # every window of the call, see `Call.windows`
    cycled: float | None = None  # if windows are: longest step of a forecast by a model that states none
    save: tuple[str, ...] = ()

    def __call__(self, batch: WindowBatch) -> dict[str, Array]:
        """Return every variable of the state at every frame, forcings, equivalents of points, and diagnostics."""
        if len(batch) == 1 or not self.observed.beside_record:
            return self._solve(batch)
        alone = [slice(index, index + 1) for index in range(len(batch))]
        parts = [self._solve(batch.select(one)) for one in alone]
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
        seeds = seeds_of(batch, experiment.sampling, self.bridge)
        outcome = experiment.analyse(sources, background, batch.seconds, self.bridge.core_grid(), departures, seeds)
        results = {key: self.bridge.array(values) for key, values in outcome.numbers.items()}
        results |= self._variables(outcome.fields)
        if self.observed.record is not None:
            results[f"{self.name}_observed"] = frames[:, -1]
        for word, fields in outcome.departures.items():
            for label, field in zip(self.observed.labels(self.name), fields, strict=True):
                results[f"{label}_{word}"] = self.bridge.array(field)
        if self.cycled is not None:
            results |= self._variables(experiment.completed(sources, background), "_background")
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

    def _variables(self, fields: Mapping[str, Tensor], suffix: str = "") -> dict[str, Array]:
        """Return the variables of components (window, ..., component, y, x), each with any suffix of theirs."""
        return {
            name + key.removeprefix(component) + suffix: self.bridge.array(values[..., index, :, :])
            for key, values in fields.items()
            for name, (component, index) in self.state.parts.items()
            if key == component or key.removeprefix(component) in _SUFFIXES
        }

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
            if size is not None:
                values = results[name]
                edges = [(0, 0), (0, size - values.shape[1]), *[(0, 0)] * (values.ndim - 2)]
                results[name] = np.pad(values, edges, constant_values=np.nan)
        return results
