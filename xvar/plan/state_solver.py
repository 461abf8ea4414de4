"""Solver of the state at the beginning of windows: the methods advection and model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xvar.cf.grid import HorizontalGrid
from xvar.execution.batches import WindowBatch
from xvar.plan.bridge import Array, Bridge, in_order, to_array, without_land
from xvar.plan.solver import Variable

if TYPE_CHECKING:
    from torch import Tensor

    from xvar.core.methods.experiment import Experiment
    from xvar.core.parameters import Parameter
    from xvar.core.problem import Problem


@dataclass(frozen=True)
class StateSolver:
    """Solver of the state at the beginning of windows.

    Attributes
    ----------
    experiment : Experiment
        The problem, and its minimisation.
    name : str
        The observed variable.
    bridge : Bridge
    outputs : mapping of str to Variable
    components : mapping of str to tuple of str
        The variables of each component of the state.
    background : mapping of str to array (y, x)
        Their background; if the observed one is left out the first frame is its background.
    std : array (time, y, x), optional
        Standard deviation of the errors of observation.
    cycled : float, optional
        If windows are cycled: the longest step of a forecast by a model that states none. The result has the
        backgrounds too.
    save : tuple of str
        See `Experiment.analyse`.
    """

    experiment: Experiment
    name: str
    bridge: Bridge
    outputs: Mapping[str, Variable]
    components: Mapping[str, tuple[str, ...]]
    background: Mapping[str, Array]
    std: Array | None = None
    cycled: float | None = None
    save: tuple[str, ...] = ()

    def __call__(self, batch: WindowBatch) -> dict[str, Array]:
        """Return every variable of the state at every frame, the forcing of each that is forced, and diagnostics."""
        bridge, grid, experiment = self.bridge, self.bridge.core_grid(), self.experiment
        images, state, windows = bridge.without_land(batch.frames), batch.cycle_state, len(batch)
        known = self._known(batch)
        if state is not None:
            assert self.cycled is not None
            experiment, known = experiment.following(known, state.lead, state.elapsed, self.cycled, grid)
        frames = bridge.tensor(images)
        std = self._std(batch)
        states, forcing, numbers, saved = experiment.analyse(frames, std, known, batch.seconds, grid, self.save)
        results = numbers_of(numbers, experiment.parameters, bridge.grid, bridge.land)
        results[f"{self.name}_observed"] = images[:, -1]
        for key, names in self.components.items():
            for index, part in enumerate(names):
                results[part] = np.stack([bridge.array(one[key][:, index]) for one in states], axis=1)
                if forcing and key in forcing[0]:
                    fields = [bridge.array(one[key][:, index]) for one in forcing]
                    results[f"{part}_forcing"] = np.stack(fields, axis=1)
                if "increment" in saved:
                    results[f"{part}_increment"] = bridge.array(saved["increment"][key][:, index])
        for word in {"innovation", "residual"} & set(saved):
            results[f"{self.name}_{word}"] = bridge.array(saved[word][experiment.observed])
        if self.cycled is not None:
            first = experiment.completed(known, frames)
            for key, names in self.components.items():
                for index, part in enumerate(names):
                    results[f"{part}_background"] = bridge.array(first[key][:, index])
            results["background_source"] = np.full(windows, state is not None, dtype="int8")
        return results

    def problem(self, batch: WindowBatch) -> Problem:
        """Return the problem of a batch."""
        bridge, frames = self.bridge, self.bridge.tensor(self.bridge.without_land(batch.frames))
        return self.experiment.problem(frames, self._std(batch), self._known(batch), batch.seconds, bridge.core_grid())

    def _std(self, batch: WindowBatch) -> Tensor | None:
        return None if self.std is None else self.bridge.tensor(self.std[batch.numbers])

    def _known(self, batch: WindowBatch) -> dict[str, Tensor]:
        """Return the components of the state whose beginning is known: the background, or the window before."""
        bridge, state = self.bridge, batch.cycle_state
        begin = self.background if state is None else {n: _filled(p, bridge.land) for n, p in state.fields.items()}
        return {
            key: bridge.tensor(
                np.broadcast_to(np.stack([begin[n] for n in names]), (len(batch), len(names), *bridge.grid.shape))
            )
            for key, names in self.components.items()
            if set(names) <= set(begin)
        }


def _filled(values: Array, land: Array | None) -> Array:
    """Fill land of a field (y, x) with the mean of the sea: a sampler at the coast needs numbers."""
    return values if land is None else np.where(land, values[~land].mean(dtype="float64"), values).astype(values.dtype)


def numbers_of(
    numbers: Mapping[str, Tensor], parameters: Mapping[str, Parameter], grid: HorizontalGrid, land: Array | None
) -> dict[str, Array]:
    """Return the diagnostics of windows, and parameters, of which some are fields."""
    results = {key: to_array(values) for key, values in numbers.items()}
    for key, parameter in parameters.items():
        if parameter.is_field:
            results[key] = without_land(in_order(results[key], grid), land)
    return results
