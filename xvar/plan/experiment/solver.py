"""Solver of the state at the beginning of windows: tensors of a batch, the experiment, arrays of its outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from xvar.core.methods.experiment import Experiment
from xvar.core.methods.outcome import Outcome, Source
from xvar.core.parameters import Parameter
from xvar.core.problem import Problem
from xvar.execution.batches import CycleState, WindowBatch
from xvar.plan.bridge import Array, Bridge, ascending
from xvar.plan.call import Span, Variable
from xvar.plan.ensemble import MEMBERS
from xvar.plan.experiment.observations import Observed
from xvar.plan.experiment.state import Background, State
from xvar.plan.uncertainty import ERRORS, seeds_of

_SUFFIXES = (*ERRORS, "_increment", "_forcing", *(f"_forcing{suffix}" for suffix in ERRORS))


@dataclass(frozen=True)
class ExperimentSolver:
    """Solver of the state at the beginning of windows.

    Windows with observations beside the record are solved one by one, as each has its own times.
    """

    experiment: Experiment
    bridge: Bridge
    outputs: Mapping[str, Variable]
    state: State
    background: Background
    observed: Observed
    windows: Sequence[Span]  # every window of the call, see `Call.windows`
    cycled: float | None = None  # if windows are: longest step of a forecast by a model that states none
    save: tuple[str, ...] = ()

    def __call__(self, batch: WindowBatch) -> dict[str, Array]:
        """Return every variable of the state at every frame, forcings, equivalents of points, and diagnostics."""
        if len(batch) == 1 or not (self.observed.beside_record or self.experiment.ensemble):
            return self._solve(batch)
        alone = [slice(index, index + 1) for index in range(len(batch))]
        parts = [self._solve(batch.select(one)) for one in alone]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def problem(self, batch: WindowBatch) -> Problem:
        """Return the problem of a batch."""
        experiment, background = self._prior(batch)
        sources, _ = self._sources(batch, self.bridge.without_land(batch.frames))
        return experiment.problem(sources, background, batch.seconds, self.bridge.core_grid())

    def _solve(self, batch: WindowBatch) -> dict[str, Array]:
        frames = _unshared(self.bridge.without_land(batch.frames), batch)
        experiment, background = self._prior(batch)
        sources, rejected = self._sources(batch, frames)
        departures = [word for word in self.save if word in ("innovation", "residual", "samples")]
        seeds = seeds_of(batch, experiment.sampling or experiment.ensemble, self.bridge)
        experiment = replace(experiment, handover=batch.handover)
        outcome = experiment.analyse(sources, background, batch.seconds, self.bridge.core_grid(), departures, seeds)
        results = {key: self.bridge.array(values) for key, values in outcome.numbers.items()}
        results |= self._variables(outcome.fields)
        if self.observed.record is not None:
            results[f"{self.observed.record.label}_observed"] = frames[:, -1]
        for word, fields in outcome.departures.items():
            for source, field in zip(self.observed.images, fields, strict=True):
                results[f"{source.label}_{word}"] = source.layout.array(field, self.bridge)
        if self.cycled is not None:
            results |= self._variables(experiment.completed(sources, background), "_background")
            results["background_source"] = np.full(len(batch), batch.cycle_state is not None, dtype="int8")
        if self.observed.points is not None:
            results |= self._equivalents(outcome, batch)
        if self.observed.checks:
            results["rejected_by_check"] = self._rejections(results.pop("background_check"), rejected)
        return self._padded(results)

    def _rejections(self, background_check: Array, rejected: Sequence[Mapping[str, int]]) -> Array:
        """Return the number of values that each check rejected, (window, source, check)."""
        checks = self.observed.checks
        found = np.zeros((*background_check.shape, len(checks)), dtype="int32")
        found[..., checks.index("background_check")] = background_check
        for number, counts in enumerate(rejected):
            for name, count in counts.items():
                found[:, number, checks.index(name)] += count
        return found

    def _window(self, batch: WindowBatch) -> Span:
        """Return the span of the one window of a batch."""
        return min(self.windows, key=lambda window: abs(window.begin - batch.begin[0]))

    def _prior(self, batch: WindowBatch) -> tuple[Experiment, dict[str, Tensor]]:
        """Return the experiment and the background: as stated, or the forecast of the window before."""
        state, bridge = batch.cycle_state, self.bridge
        fields = self.background.at(batch.begin)
        if state is not None:
            fields = {name: self._filled(state.fields[name], name)[None] for name in self.state.names}
        if state is not None and self.experiment.ensemble is not None:
            pairs = [(name, self._filled(state.fields[f"{name}{MEMBERS}"], name)) for name in self.state.names]
            fields = {name: np.concatenate([fields[name], members]) for name, members in pairs}
        known = {
            key: bridge.tensor(np.stack([fields[name] for name in names], axis=1))
            for key, names in self.state.components.items()
            if set(names) <= set(fields)
        }
        if state is None:
            return self.experiment.with_error_of(known), known
        assert self.cycled is not None
        cycle = known, state.lead, state.elapsed, self.cycled, bridge.core_grid()
        experiment = replace(self.experiment, parameters=self._parameters(state))
        seeds = seeds_of(batch, self.experiment.ensemble, bridge)
        if seeds is None:
            following, background = experiment.following(*cycle)
            return following.with_error_of(background), background
        return experiment.following_ensemble(*cycle, int(seeds[0]) + 1)

    def _parameters(self, state: CycleState) -> dict[str, Parameter]:
        """Return the parameters with what the window before found as their prior; their error stays as stated."""
        found = {}
        for name, parameter in self.experiment.parameters.items():
            value = self._filled(state.fields[name], name)
            prior = ascending(value, self.bridge.grid) if value.ndim else float(value)
            found[name] = replace(parameter, prior=prior)
        return found

    def _filled(self, values: Array, name: str) -> Array:
        """Fill land with numbers, which a sampler at the coast needs: the mean of the sea; nothing flows through it."""
        land = self.bridge.land
        if land is None or not values.ndim:
            return values
        if name in self.state.staggered:
            return np.nan_to_num(values)
        return np.where(land, values[..., ~land].mean(dtype="float64"), values).astype(values.dtype)

    def _sources(self, batch: WindowBatch, frames: Array) -> tuple[list[Source], list[dict[str, int]]]:
        """Return the observations of the windows, and the number of values that each check rejected of a source."""
        observed = self.observed
        sources: list[Source] = []
        rejected: list[dict[str, int]] = []
        if observed.record is not None:
            sources.append(observed.record.frames(batch, frames, self.bridge))
            rejected.append({})
        if observed.beside_record:
            window = self._window(batch)
            for source in observed.beside:
                images, counts = source.frames(window, self.bridge)
                sources.append(images)
                rejected.append({rule.name: int(n) for rule, n in zip(source.quality.rules, counts, strict=True)})
            if observed.points is not None:
                sources += observed.points.within_tables(window, self.bridge)
                rejected += [{"range": count} for count in observed.points.out_of_range(window)]
        if batch.cycle_state is not None:
            sources = [_with_priors(source, batch.cycle_state.fields) for source in sources]
        return sources, rejected

    def _variables(self, fields: Mapping[str, Tensor], suffix: str = "") -> dict[str, Array]:
        """Return the variables of components (window, ..., component, *grid), each with any suffix of theirs."""
        return {
            name + key.removeprefix(component) + suffix: self.bridge.array(
                values.select(-1 - len(self.bridge.grid.shape), index)
            )
            for key, values in fields.items()
            for name, (component, index) in self.state.parts.items()
            if key == component or key.removeprefix(component) in _SUFFIXES
        }

    def _equivalents(self, outcome: Outcome, batch: WindowBatch) -> dict[str, Array]:
        """Return the equivalents of the points of a window, in the order of their rows."""
        points = self.observed.points
        assert points is not None
        by_source = np.argsort(points.source[points.used(self._window(batch))], kind="stable")
        results = {}
        for name in ("background", "analysis", *(["rejected"] if points.background_check else [])):
            values = np.concatenate([self.bridge.array(part[name]) for part in outcome.points])
            found = np.full((1, points.size), np.nan, dtype=values.dtype if values.dtype.kind == "f" else "float32")
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


def _with_priors(source: Source, fields: Mapping[str, Array]) -> Source:
    """Return observations of which parameters of the whole window have what the window before found as their prior."""
    names = source.comparison.parameters
    known = {name: fields[source.prefix + name] for name in names if source.prefix + name in fields}
    priors = {name: float(value) for name, value in known.items()}
    return replace(source, comparison=source.comparison.with_priors(priors)) if priors else source


def _unshared(frames: Array, batch: WindowBatch) -> Array:
    """Return frames (window, frame, ...) without those that the window before has observed."""
    if batch.cycle_state is None or not batch.cycle_state.shared:
        return frames
    frames = np.array(frames, dtype=frames.dtype if frames.dtype.kind == "f" else "float64")
    frames[:, : batch.cycle_state.shared] = np.nan
    return frames
