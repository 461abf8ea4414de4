"""Solver of the state at the beginning of windows: the methods advection and model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from xvar.execution.batches import WindowBatch
from xvar.plan.bridge import Array, Bridge, in_order, to_array
from xvar.plan.solver import Variable

if TYPE_CHECKING:
    from torch import Tensor

    from xvar.core.methods.experiment import Experiment, Outcome, Source
    from xvar.core.methods.images import Comparison
    from xvar.core.problem import Problem
    from xvar.plan.experiment.background import Background
    from xvar.plan.experiment.images import ImageSource
    from xvar.plan.experiment.points import PointSource
    from xvar.plan.experiment.state import Components


@dataclass(frozen=True)
class RecordSource:
    """Images of the record as observations.

    Attributes
    ----------
    component : str
    part : int, optional
        The observed component of the state, and the variable of it, see `Frames`.
    comparison : Comparison
    std : array, broadcastable to the record (time, y, x), optional
        Standard deviation of the errors of observation.
    """

    component: str
    part: int | None
    comparison: Comparison
    std: Array | None = None


@dataclass(frozen=True)
class ExperimentSolver:
    """Solver of the state at the beginning of windows.

    Attributes
    ----------
    experiment : Experiment
        The problem, and its minimisation.
    name : str
        The variable of the record.
    bridge : Bridge
    outputs : mapping of str to Variable
    components : mapping of str to tuple of str
        The variables of each component of the state.
    staggered : tuple of str
        Those between the grid points.
    background : Background
        If the observed variable is left out the first frame is its background.
    record : RecordSource, optional
        The images of the record; None if the data are a table of points.
    images : tuple of ImageSource
    points : PointSource, optional
        Observations beside the record. Windows are then solved one by one, as each has its own times.
    windows : sequence of (float, float)
        Beginning and length of every window of the call, see `windows_of`.
    cycled : float, optional
        If windows are cycled: the longest step of a forecast by a model that states none.
    save : tuple of str
        Fields that are wanted beside the analysis.
    """

    experiment: Experiment
    name: str
    bridge: Bridge
    outputs: Mapping[str, Variable]
    components: Components
    staggered: tuple[str, ...]
    background: Background
    record: RecordSource | None
    images: tuple[ImageSource, ...] = ()
    points: PointSource | None = None
    windows: Sequence[tuple[float, float]] = ()
    cycled: float | None = None
    save: tuple[str, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """Lengths of the dimensions of observations beside the record."""
        images = {f"{source.label}_step": source.size for source in self.images}
        return images if self.points is None else {**images, "point": self.points.size}

    def __call__(self, batch: WindowBatch) -> dict[str, Array]:
        """Return every variable of the state at every frame, forcings, equivalents of points, and diagnostics."""
        if len(batch) == 1 or not (self.images or self.points):
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
        departures = [word for word in self.save if word != "increment"]
        outcome = experiment.analyse(sources, background, batch.seconds, self.bridge.core_grid(), departures)
        results = self._numbers(outcome)
        for key, names in self.components.items():
            for index, part in enumerate(names):
                results[part] = self._fields(outcome.states, key, index)
                if outcome.forcing and key in outcome.forcing[0]:
                    results[f"{part}_forcing"] = self._fields(outcome.forcing, key, index)
                if "increment" in self.save:
                    results[f"{part}_increment"] = self._fields([outcome.increment], key, index)[:, 0]
        if self.record is not None:
            results[f"{self.name}_observed"] = frames[:, -1]
        labels = [*([self.name] if self.record is not None else []), *(source.label for source in self.images)]
        for word, fields in outcome.departures.items():
            for label, field in zip(labels, fields, strict=True):
                results[f"{label}_{word}"] = self.bridge.array(field)
        if self.cycled is not None:
            results |= self._backgrounds(experiment.completed(sources, background), batch)
        if self.points is not None:
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
            for key, names in self.components.items()
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
        if name in self.staggered:
            return np.nan_to_num(values)
        return np.where(land, values[~land].mean(dtype="float64"), values).astype(values.dtype)

    def _sources(self, batch: WindowBatch, frames: Array) -> list[Source]:
        """Return the observations of the windows."""
        from xvar.core.methods.images import Frames

        bridge, record = self.bridge, self.record
        sources: list[Source] = []
        if record is not None:
            std = None
            if record.std is not None:
                shared = np.zeros_like(batch.numbers[:1, :1])
                std = bridge.tensor(record.std[batch.numbers if len(record.std) > 1 else shared])
            sources.append(
                Frames(
                    component=record.component,
                    part=record.part,
                    values=bridge.tensor(frames),
                    seconds=batch.seconds,
                    std=std,
                    comparison=record.comparison,
                )
            )
        if not (self.images or self.points):
            return sources
        window = self._window(batch)
        sources += [source.frames(*window, bridge) for source in self.images]
        return sources if self.points is None else [*sources, *self.points.tables(*window, bridge)]

    def _fields(self, states: list[Any], key: str, index: int) -> Array:
        """Return one variable of states (window, state, y, x)."""
        return np.stack([self.bridge.array(state[key][:, index]) for state in states], axis=1)

    def _numbers(self, outcome: Outcome) -> dict[str, Array]:
        """Return the diagnostics of windows, and parameters, of which some are fields."""
        parameters = self.experiment.parameters
        return {
            key: self.bridge.without_land(in_order(to_array(values), self.bridge.grid))
            if key in parameters and parameters[key].is_field
            else to_array(values)
            for key, values in outcome.numbers.items()
        }

    def _backgrounds(self, state: dict[str, Tensor], batch: WindowBatch) -> dict[str, Array]:
        """Return the background of cycled windows, and its source."""
        fields = {
            f"{part}_background": self._fields([state], key, index)[:, 0]
            for key, names in self.components.items()
            for index, part in enumerate(names)
        }
        return {**fields, "background_source": np.full(len(batch), batch.cycle_state is not None, dtype="int8")}

    def _equivalents(self, outcome: Outcome, batch: WindowBatch) -> dict[str, Array]:
        """Return the equivalents of the points of a window, in the order of their rows."""
        assert self.points is not None
        rows = self.points.used(*self._window(batch))
        by_source = np.argsort(self.points.source[rows], kind="stable")
        results = {}
        for name in ("background", "analysis"):
            values = np.concatenate([to_array(part[name]) for part in outcome.points])
            found = np.full((1, self.points.size), np.nan, dtype=values.dtype)
            found[0, by_source] = values
            results[f"observation_{name}"] = found
        return results

    def _padded(self, results: dict[str, Array]) -> dict[str, Array]:
        """Fill up what images beside the record give of each: windows hold different numbers of them."""
        for name, part in self.outputs.items():
            size = self.sizes.get(part.dims[0]) if part.dims else None
            if size is not None and results[name].shape[1] < size:
                values = results[name]
                whole = np.full((len(values), size, *values.shape[2:]), np.nan, dtype=values.dtype)
                whole[:, : values.shape[1]] = values
                results[name] = whole
        return results
