"""``.var4d`` on Datasets and DataArrays: forwards to the functions of the same names."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import xarray as xr
from numpy.typing import NDArray

from xvar.cf.quantities import without_quantities
from xvar.errors import Fault, InputError, refuse_unknown

if TYPE_CHECKING:
    from xvar.analysis.summary import Summary
    from xvar.check import Examination
    from xvar.plot import Plot


def _forward(function: Callable[..., xr.Dataset], data: Any, *arguments: Any, **options: Any) -> xr.Dataset:
    """Call a function, with a message that helps where it has no such option."""
    known = [name for name in inspect.signature(function).parameters if name != "data"]
    refuse_unknown(options, known, f"{function.__name__}()")
    return function(data, *arguments, **options)


class _Accessor:
    """What Datasets and DataArrays have in common."""

    def __init__(self, data: Any) -> None:
        self._given = data

    @property
    def _data(self) -> Any:
        """What was given; arrays that carry their units themselves (pint) are taken apart, for all that is done."""
        return without_quantities(self._given) if isinstance(self._given, xr.Dataset) else self._given

    def assimilate(self, *arguments: Any, **options: Any) -> xr.Dataset:
        """Find the motion in the record, see `xvar.assimilation.assimilate`."""
        from xvar.assimilation import assimilate

        return _forward(assimilate, self._data, *arguments, **options)

    def check(self, *arguments: Any, **options: Any) -> Examination:
        """Say how the record is understood, and whether a motion can be found in it: see `xvar.check.record`.

        It takes the options of `assimilate`.
        """
        from xvar.assimilation import assimilate
        from xvar.check import record

        known = [name for name in inspect.signature(assimilate).parameters if name != "data"]
        refuse_unknown(options, known, "check()")
        return record(self._data, *arguments, **options)


@xr.register_dataset_accessor("var4d")
class DatasetAccessor(_Accessor):
    """4D-Var on a Dataset: a record of images, an analysis or a forecast."""

    def forecast(self, *arguments: Any, **options: Any) -> xr.Dataset:
        """Extrapolate an analysis, see `xvar.analysis.forecast.forecast`."""
        from xvar.analysis.forecast import forecast

        return _forward(forecast, self._data, *arguments, **options)

    def verify(self, *arguments: Any, **options: Any) -> xr.Dataset:
        """Compare with the truth, see `xvar.analysis.verify.verify`."""
        from xvar.analysis.verify import verify

        truth = [without_quantities(one) if isinstance(one, xr.Dataset) else one for one in arguments]
        return _forward(verify, self._data, *truth, **options)

    def to_geographic(self) -> xr.Dataset:
        """An analysis with its motion towards east and north, see `xvar.analysis.to_geographic.to_geographic`."""
        from xvar.analysis.to_geographic import to_geographic

        return to_geographic(self._data)

    def to_pysteps(self, window: int = -1, *, lead: Any = None) -> NDArray[Any]:
        """The motion at the end of a window as pysteps takes it, see `xvar.analysis.to_pysteps.to_pysteps`."""
        from xvar.analysis.to_pysteps import to_pysteps

        return to_pysteps(self._data, window, lead=lead)

    def series(self, *arguments: Any, **options: Any) -> xr.Dataset:
        """One record (time, y, x) from the windows of an analysis, see `xvar.analysis.series.series`."""
        from xvar.analysis.series import series

        return _forward(series, self._data, *arguments, **options)

    def summary(self) -> Summary:
        """An analysis in a few lines, see `xvar.analysis.summary.summary`."""
        from xvar.analysis.summary import summary

        return summary(self._data)

    @property
    def plot(self) -> Plot:
        """Pictures, see `xvar.plot`."""
        from xvar.plot import Plot

        return Plot(self._data)


@xr.register_datatree_accessor("var4d")
class DataTreeAccessor:
    """4D-Var on a DataTree: on the one group that holds a record of images."""

    def __init__(self, data: xr.DataTree) -> None:
        self._data = data

    def assimilate(self, *arguments: Any, **options: Any) -> xr.Dataset:
        """Find the motion in the record of a group, see `xvar.assimilation.assimilate`."""
        return DatasetAccessor(self._group()).assimilate(*arguments, **options)

    def check(self, *arguments: Any, **options: Any) -> Examination:
        """Say how the record of a group is understood, see `xvar.check.record`."""
        return DatasetAccessor(self._group()).check(*arguments, **options)

    def _group(self) -> xr.Dataset:
        """The group that holds data; where there are several the user says which."""
        nodes = {node.path: node for node in self._data.subtree if node.data_vars}
        if len(nodes) != 1:
            raise InputError(
                Fault(
                    found=f"a DataTree with data in {len(nodes)} groups: {', '.join(nodes) or 'none'}",
                    expected="the one that holds the record",
                    fix=f"tree[{next(iter(nodes), '/group')!r}].to_dataset().var4d.assimilate()",
                )
            )
        (node,) = nodes.values()
        return node.to_dataset()


@xr.register_dataarray_accessor("var4d")
class DataArrayAccessor(_Accessor):
    """4D-Var on a DataArray: a record of images."""
