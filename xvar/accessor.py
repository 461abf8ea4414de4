"""``.var4d`` on Datasets, DataArrays and DataTrees: forward to the functions of the same names."""
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import inspect
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import xarray as xr
from numpy.typing import NDArray

from xvar.cf.units import without_quantities
from xvar.errors import Fault, InputError, refuse_unknown

if TYPE_CHECKING:
    from xvar.analysis.summary import Summary
    from xvar.check import Examination
    from xvar.plot import Plot

_ASSIMILATE = "xvar.assimilation:assimilate"


def _plain(data: Any) -> Any:
    """Return the one group of a DataTree, and a Dataset with units as attributes, not as pint quantities."""
    if isinstance(data, xr.DataTree):
        groups = {node.path: node for node in data.subtree if node.data_vars}
        if len(groups) != 1:
            raise InputError(
                Fault(
                    f"a DataTree with data in {len(groups)} groups: {', '.join(groups) or 'none'}",
                    "one group, the one that holds the record",
                    f"tree[{next(iter(groups), '/group')!r}].to_dataset().var4d.assimilate()",
                    code="ambiguous-group",
                )
            )
        data = next(iter(groups.values())).to_dataset()
    return without_quantities(data) if isinstance(data, xr.Dataset) else data


def _forward(function: str, data: Any, *arguments: Any, **options: Any) -> Any:
    """Call a function, "module:name", if it has the options."""
    _check_options(function, options, f"{function.rpartition(':')[2]}()")
    return resolve_name(function)(_plain(data), *map(_plain, arguments), **options)


def _check_options(function: str, options: dict[str, Any], call: str) -> None:
    refuse_unknown(options, list(inspect.signature(resolve_name(function)).parameters)[1:], call)


class _Accessor:
    """Methods of Datasets and DataArrays."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def assimilate(self, *arguments: Any, **options: Any) -> xr.Dataset:
        """Analyse the record in windows, see `xvar.assimilation.assimilate`."""
        return _forward(_ASSIMILATE, self._data, *arguments, **options)

    def check(self, *arguments: Any, **options: Any) -> Examination:
        """Check the record with a twin experiment, see `xvar.check.record`; options are those of `assimilate`."""
        _check_options(_ASSIMILATE, options, "check()")
        return resolve_name("xvar.check:record")(_plain(self._data), *arguments, **options)


@xr.register_dataset_accessor("var4d")
class DatasetAccessor(_Accessor):
    """4D-Var on a Dataset: a record of images, an analysis or a forecast."""

    def forecast(self, *arguments: Any, **options: Any) -> xr.Dataset:
        """Forecast from an analysis, see `xvar.analysis.forecast.forecast`."""
        return _forward("xvar.analysis.forecast:forecast", self._data, *arguments, **options)

    def probability(self, *arguments: Any, **options: Any) -> xr.Dataset:
        """Return the probability of events from members, see `xvar.analysis.probability.probability`."""
        return _forward("xvar.analysis.probability:probability", self._data, *arguments, **options)

    def quantiles(self, *arguments: Any, **options: Any) -> xr.Dataset:
        """Return quantiles of the members, see `xvar.analysis.probability.quantiles`."""
        return _forward("xvar.analysis.probability:quantiles", self._data, *arguments, **options)

    def accumulation(self) -> xr.Dataset:
        """Return the rain from the end of the window, see `xvar.analysis.probability.accumulation`."""
        return _forward("xvar.analysis.probability:accumulation", self._data)

    def verify(self, *arguments: Any, **options: Any) -> xr.Dataset:
        """Compare with the truth, see `xvar.analysis.verify.verify`."""
        return _forward("xvar.analysis.verify:verify", self._data, *arguments, **options)

    def to_geographic(self) -> xr.Dataset:
        """Add the motion towards east and north, see `xvar.analysis.to_geographic.to_geographic`."""
        return _forward("xvar.analysis.to_geographic:to_geographic", self._data)

    def to_pysteps(self, *arguments: Any, **options: Any) -> NDArray[Any]:
        """Return the motion for nowcasts of pysteps, see `xvar.analysis.to_pysteps.to_pysteps`."""
        return _forward("xvar.analysis.to_pysteps:to_pysteps", self._data, *arguments, **options)

    def series(self, *arguments: Any, **options: Any) -> xr.Dataset:
        """Join the windows of an analysis into one record (time, y, x), see `xvar.analysis.series.series`."""
        return _forward("xvar.analysis.series:series", self._data, *arguments, **options)

    def summary(self) -> Summary:
        """Summarise an analysis in a few lines, see `xvar.analysis.summary.summary`."""
        return _forward("xvar.analysis.summary:summary", self._data)

    @property
    def plot(self) -> Plot:
        """Pictures, see `xvar.plot`."""
        return _forward("xvar.plot:Plot", self._data)


@xr.register_dataarray_accessor("var4d")
class DataArrayAccessor(_Accessor):
    """4D-Var on a DataArray: a record of images."""


@xr.register_datatree_accessor("var4d")
class DataTreeAccessor(_Accessor):
    """4D-Var on a DataTree: on its one group that holds a record of images."""
