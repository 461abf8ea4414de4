"""``.var4d`` on Datasets, DataArrays and DataTrees: forward to the functions of the same names."""
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import inspect
from collections.abc import Callable
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import xarray as xr

from xvar.cf.units import without_quantities
from xvar.errors import Fault, InputError, refuse_unknown

if TYPE_CHECKING:
    from xvar.plot import Plot


def _plain(data: Any) -> Any:
    """Return the one group of a DataTree, and a Dataset with units as attributes, not as pint quantities."""
    if isinstance(data, xr.DataTree):
        groups = {node.path: node for node in data.subtree if node.data_vars}
        if len(groups) != 1:
            found = f"a DataTree with data in {len(groups)} groups: {', '.join(groups) or 'none'}"
            fix = f"tree[{next(iter(groups), '/group')!r}].to_dataset().var4d.assimilate()"
            raise InputError(Fault(found, "one group, the one that holds the record", fix, code="ambiguous-group"))
        data = next(iter(groups.values())).to_dataset()
    return without_quantities(data) if isinstance(data, xr.Dataset) else data


def _method(function: str, about: str, *, options_of: str | None = None) -> Callable[..., Any]:
    """Return a method that forwards to a function, "module:name", if that, or `options_of`, has the options."""
    name = "check" if options_of else function.rpartition(":")[2]

    def method(self: _Accessor, *arguments: Any, **options: Any) -> Any:
        known = inspect.signature(resolve_name(options_of or function)).parameters
        refuse_unknown(options, list(known)[1:], f"{name}()")
        return resolve_name(function)(_plain(self._data), *map(_plain, arguments), **options)

    method.__name__, method.__qualname__ = name, f"DatasetAccessor.{name}"
    method.__doc__ = f"{about}, see `{function.replace(':', '.')}`."
    return method


class _Accessor:
    """Methods of Datasets and DataArrays."""

    def __init__(self, data: Any) -> None:
        self._data = data

    assimilate = _method("xvar.assimilation:assimilate", "Analyse the record in windows")
    check = _method(
        "xvar.check:record",
        "Check the record with a twin experiment; options are those of `assimilate`",
        options_of="xvar.assimilation:assimilate",
    )


@xr.register_dataset_accessor("var4d")
class DatasetAccessor(_Accessor):
    """4D-Var on a Dataset: a record of images, an analysis or a forecast."""

    forecast = _method("xvar.analysis.forecast:forecast", "Forecast from an analysis")
    probability = _method("xvar.analysis.probability:probability", "Return the probability of events from members")
    quantiles = _method("xvar.analysis.probability:quantiles", "Return quantiles of the members")
    accumulation = _method("xvar.analysis.probability:accumulation", "Return the rain from the end of the window")
    diagnose = _method("xvar.analysis.diagnose:diagnose", "Compare an analysis with its stated errors")
    verify = _method("xvar.analysis.verify:verify", "Compare with the truth")
    to_geographic = _method("xvar.analysis.to_geographic:to_geographic", "Add the motion towards east and north")
    to_pysteps = _method("xvar.analysis.to_pysteps:to_pysteps", "Return the motion for nowcasts of pysteps")
    to_geojson = _method("xvar.analysis.to_geojson:to_geojson", "Return arrows of motion, or areas of a forecast")
    to_table = _method("xvar.analysis.to_table:to_table", "Return motion or a forecast as a table of points")
    to_geotiff = _method("xvar.analysis.to_geotiff:to_geotiff", "Write motion or a forecast as GeoTIFF")
    series = _method("xvar.analysis.series:series", "Join the windows of an analysis into one record (time, y, x)")
    summary = _method("xvar.analysis.summary:summary", "Summarise an analysis in a few lines")

    @property
    def plot(self) -> Plot:
        """Pictures, see `xvar.plot`."""
        return resolve_name("xvar.plot:Plot")(_plain(self._data))


@xr.register_dataarray_accessor("var4d")
class DataArrayAccessor(_Accessor):
    """4D-Var on a DataArray: a record of images."""


@xr.register_datatree_accessor("var4d")
class DataTreeAccessor(_Accessor):
    """4D-Var on a DataTree: on its one group that holds a record of images."""
