"""The windows of a record, whose analyses train the weights of a model."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Mapping, Sequence, Set
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from xvar.assimilation import assimilate
from xvar.core.cost import Cost
from xvar.errors import Fault, Faults, InputError, refuse_unknown
from xvar.execution.batches import WindowBatch
from xvar.learning.groups import Evaluate, Evaluation, Group, forecast_misfit, trainable
from xvar.plan.control import read_background
from xvar.plan.options import Options
from xvar.plan.pipeline import make_work
from xvar.plan.planning import make_plan, read_source

#: Options of `assimilate` that have no meaning here: what is written, and how windows are dealt out.
_WITHOUT_MEANING = ("data", "batch", "ensemble", "errors", "save", "samples", "uncertainty")
#: Longest gap before a window that follows another, over the time between frames.
_GAP = 1.5


class Windows:
    r"""Windows of a record, with J that is differentiable by the weights of the model: for a training loop of your own.

    At the minimum of J by the control v, the derivative of :math:`\min_v J(v, \theta)` by the weights is that at a
    fixed control, the envelope theorem:

    .. math:: \frac{d}{d\theta} \min_v J(v, \theta) = \frac{\partial J}{\partial \theta}(v^*, \theta).

    Nothing is differentiated through the minimiser, so `cost` of the controls that `minimise` returned is all that a
    step of an optimiser needs.

    Parameters
    ----------
    data : Dataset or DataArray
        The record, as for `assimilate`.
    variable : hashable, optional
        Name of the variable, if there are several.
    dynamics : torch.nn.Module
        The model, ``model(state, seconds) -> state``, such as `xvar.dynamics.Corrected`. Its weights are used as they
        are at each call.
    **options
        Options of `assimilate`, but for those of its output.

    Raises
    ------
    InputError
        With all faults of the input and the options; if the model has no weights, or windows are cycled.

    Examples
    --------
    >>> windows = xvar.learning.Windows(record, dynamics=model, window=9, ...)  # doctest: +SKIP
    >>> optimizer, controls = torch.optim.Adam(model.parameters()), None  # doctest: +SKIP
    >>> for _ in range(100):  # doctest: +SKIP
    ...     controls = windows.minimise(controls)
    ...     optimizer.zero_grad()
    ...     windows.cost(controls).sum().backward()
    ...     optimizer.step()
    """

    def __init__(
        self,
        data: xr.Dataset | xr.DataArray,
        variable: Hashable | None = None,
        *,
        dynamics: torch.nn.Module,
        **options: Any,
    ) -> None:
        known = [name for name in inspect.signature(assimilate).parameters if name not in _WITHOUT_MEANING]
        refuse_unknown(options, known, "learn()")
        faults = Faults()
        _check_model(dynamics, faults)
        if read_background(options.get("background"))[0]:
            faults.add(
                code="learning-of-cycled-windows",
                variable="background",
                found="cycled windows, whose backgrounds depend on the weights",
                expected="windows with backgrounds of their own",
                fix="background=a Dataset with a time for each window, such as an analysis",
            )
        read = Options.read({**options, "dynamics": dynamics, "errors": "continue"}, faults)
        _, record = read_source(data, variable, read, faults)
        plan = None if record is None else make_plan(record, read, faults)
        self.record, self.plan = faults.require(record), faults.require(plan)
        self.dynamics, self.device = dynamics, read.device
        work, _ = make_work(self.plan, self.record, read, lazy=False)
        pipeline: Any = work.solve
        self._pipeline = pipeline
        # Points have times of their own: no two windows of them share a problem.
        self._together = 1 if pipeline.solver.observed.beside_record else work.together
        self.following, self._leads = self._successors()

    def __len__(self) -> int:
        return len(self.plan.schedule.frames)

    def minimise(self, start: Sequence[Tensor] | None = None, *, windows: Sequence[int] | None = None) -> list[Tensor]:
        """Return the control at the minimum of J of each window, (n,), from the background or from other controls.

        `windows` are their numbers; default: all.
        """
        numbers = self._numbers(windows)
        starts = {} if start is None else dict(zip(numbers.tolist(), start, strict=True))
        found = {
            int(number): control
            for part in self.evaluate(numbers, starts)
            for number, control in zip(part.numbers, part.controls, strict=True)
        }
        return [found[number] for number in numbers.tolist()]

    def cost(self, controls: Sequence[Tensor], *, windows: Sequence[int] | None = None) -> Tensor:
        """Return J of each window (window,) at given controls, differentiable by the weights of the model."""
        return self._values(controls, windows, forecasts=False)

    def forecast_misfit(self, controls: Sequence[Tensor], *, windows: Sequence[int] | None = None) -> Tensor:
        r"""Return the misfit :math:`\tfrac12 \sum (y - H(x_f))^2 / \sigma^2` over the next window of each (window,).

        The forecast starts from the end of the analysis, which is a constant in its gradient. NaN for windows that no
        other follows.
        """
        return self._values(controls, windows, forecasts=True)

    def evaluate(
        self,
        numbers: NDArray[np.intp],
        starts: Mapping[int, Tensor],
        *,
        observed: Set[int] = frozenset(),
        weight: float | None = None,
    ) -> list[Evaluation]:
        """Analyse windows, in tasks of dask if the record is lazy, see `xvar.learning.groups.Evaluate`.

        Forecasts are compared with the windows of `observed` alone; `starts` are first guesses of controls by window.
        """
        tasks = [
            Evaluate(self._pipeline, group, [starts.get(int(n)) for n in group.numbers], weight, self.device)
            for group in self._groups(numbers, observed)
        ]
        data = self.record.array.data
        if not hasattr(data, "dask"):
            return [task(data[task.group.frames]) for task in tasks]
        from dask.base import compute
        from dask.delayed import delayed

        return list(compute(*[delayed(task, traverse=False)(data[task.group.frames]) for task in tasks]))

    def _values(self, controls: Sequence[Tensor], windows: Sequence[int] | None, *, forecasts: bool) -> Tensor:
        numbers = self._numbers(windows)
        given = dict(zip(numbers.tolist(), controls, strict=True))
        found: dict[int, Tensor] = {}
        for group in self._groups(numbers, frozenset(range(len(self))) if forecasts else frozenset()):
            block = np.asarray(self.record.array.data[group.frames])
            cost = Cost(group.problem(self._pipeline, block))
            stacked = torch.stack([given[int(number)] for number in group.numbers]).to(cost.problem.like)
            if not forecasts:
                values = cost.value(stacked)
            elif group.following is None:
                values = torch.full((len(stacked),), torch.nan)
            else:
                following = group.problem(self._pipeline, block, following=True)
                values = forecast_misfit(cost, stacked, group.batch.seconds[-1], following, group.lead)
            found |= zip(group.numbers.tolist(), values, strict=True)
        return torch.stack([found[number] for number in numbers.tolist()])

    def _numbers(self, windows: Sequence[int] | None) -> NDArray[np.intp]:
        return np.arange(len(self)) if windows is None else np.asarray(windows, dtype=np.intp)

    def _successors(self) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Return the window that follows each, -1 for none, and the seconds between them."""
        frames, seconds = self.plan.schedule.frames, self.record.times.seconds
        begin, end = seconds[frames[:, 0]], seconds[frames.max(axis=1)]
        following = np.searchsorted(begin, end - 1e-3)
        lead = np.append(begin, np.inf)[following] - end
        return np.where(lead <= _GAP * self.record.cadence, following, -1), np.maximum(np.round(lead, 3), 0.0)

    def _groups(self, numbers: NDArray[np.intp], observed: Set[int]) -> list[Group]:
        """Return groups of windows with the same times, small enough to be minimised together.

        They depend on the windows and their order alone, so that sums over windows have the same bits on any workers.
        """
        alike: dict[Any, list[int]] = {}
        for number in numbers.tolist():
            after = int(self.following[number])
            after = after if after in observed else -1
            key = (self._seconds(number), None if after < 0 else (self._seconds(after), self._leads[number]))
            alike.setdefault(key, []).append(number)
        groups = []
        for (_, then), same in alike.items():
            for begin in range(0, len(same), self._together):
                part = np.array(same[begin : begin + self._together])
                following = None if then is None else self._batch(self.following[part])
                groups.append(Group(part, self._batch(part), following, 0.0 if then is None else float(then[1])))
        return groups

    def _seconds(self, number: int) -> tuple[float, ...]:
        row = self.plan.schedule.seconds[number]
        return tuple(np.round(row[~np.isnan(row)], 3).tolist())

    def _batch(self, numbers: NDArray[np.intp]) -> WindowBatch:
        """Return windows with the same times, without the values of their frames."""
        seconds, times = self._seconds(int(numbers[0])), self.record.times
        frames = self.plan.schedule.frames[numbers, : len(seconds)]
        begin = times.seconds[frames[:, 0]] - times.seconds[0]
        return WindowBatch(np.empty(0), seconds, frames, begin, times.values[frames[:, -1]])


def _check_model(model: Any, faults: Faults) -> None:
    """Report a model without weights."""
    if not isinstance(model, torch.nn.Module) or not trainable(model):
        faults.append(
            Fault(
                code="nothing-to-learn",
                variable="dynamics",
                found=f"dynamics of type {type(model).__name__} without weights that need a gradient",
                expected="a torch.nn.Module (state, seconds) -> state",
                fix="dynamics=xvar.dynamics.Corrected(model, network)",
            )
        )
        raise InputError(*faults)
