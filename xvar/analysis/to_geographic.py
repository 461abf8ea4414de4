"""The motion towards east and north, on whatever grid it was analysed."""

from __future__ import annotations

from typing import Any

import xarray as xr

from xvar.analysis.forecast import read_analysis
from xvar.cf.axes import Axes
from xvar.cf.conventions import to_cf
from xvar.cf.directions import axis_directions
from xvar.cf.metadata import attributes
from xvar.errors import Faults
from xvar.plan.configuration import Configuration

#: What follows ``u`` and ``v`` in the names of further vectors of an analysis.
SUFFIXES = ("", "_forcing", "_transient", "_increment")
COMPONENTS = ("eastward", "northward")


def to_geographic(data: xr.Dataset) -> xr.Dataset:
    r"""An analysis with its motion towards east and north beside that along the axes of the grid.

    .. math:: u_{east} = u\, e_x^{east} + v\, e_y^{east}, \qquad u_{north} = u\, e_x^{north} + v\, e_y^{north}

    with the unit vectors along increasing x and y at every point, from the grid mapping or from 2-D latitude and
    longitude. On a grid of latitude and longitude they are u and v.

    Parameters
    ----------
    data : Dataset
        An analysis.

    Returns
    -------
    Dataset
        The analysis with ``eastward`` and ``northward`` in m s-1 and, where it has them, the same of the model error
        forcing, of what fades and of the increment (``eastward_forcing`` and so on). ``u`` and ``v`` stay, which a
        forecast goes on from. Lazy where the analysis is.

    Raises
    ------
    InputError
        Where `data` is no analysis, or nothing says where north is.

    Examples
    --------
    >>> import xarray as xr, xvar
    >>> ocean = xr.open_dataset("ocean.nc")  # doctest: +SKIP
    >>> analysis = ocean.var4d.assimilate("temperature", constraint="weak")  # doctest: +SKIP
    >>> analysis.var4d.to_geographic()["eastward"].attrs["standard_name"]  # doctest: +SKIP
    'surface_eastward_sea_water_velocity'
    """
    faults = Faults()
    analysed = read_analysis(data, faults)
    faults.raise_if_any()
    assert analysed is not None
    configuration, plane = analysed.configuration, analysed.plane
    observed = data[f"{configuration.variable}_observed"]
    axes = Axes(time="window", y=plane[0], x=plane[1])
    directions = axis_directions(observed, axes, analysed.grid, faults, mapping=data)
    faults.raise_if_any()
    assert directions is not None
    result = data.copy()
    for suffix in SUFFIXES:
        pair = [f"{name}{suffix}" for name in "uv"]
        if not set(pair) <= set(data.data_vars):
            continue
        u, v = (data[name] for name in pair)
        for component, word in enumerate(COMPONENTS):
            x, y = (xr.DataArray(directions[axis, component].astype(u.dtype), dims=plane) for axis in (0, 1))
            turned = (x * u + y * v).transpose(*u.dims)
            result[f"{word}{suffix}"] = turned.assign_attrs(_attributes(data, configuration, "uv"[component], suffix))
    return to_cf(result, data, action="to_geographic()")


def _attributes(data: xr.Dataset, configuration: Configuration, component: str, suffix: str) -> dict[str, Any]:
    """Those of the component along the grid, with the direction in their names."""
    own = data[f"{component}{suffix}"].attrs
    name = configuration.variable
    known = attributes(
        component,
        variable=name,
        kind=configuration.kind,
        grid_kind="geographic",
        standard_name=data[name].attrs.get("standard_name"),
    )
    kept = {key: own[key] for key in ("units", "grid_mapping") if key in own}
    if not suffix:
        return {**kept, **{key: known[key] for key in ("long_name", "standard_name") if key in known}}
    word = COMPONENTS["uv".index(component)]
    what = {"_forcing": "model error forcing of the motion", "_transient": "part of the motion that fades"}
    return {**kept, "long_name": f"{what.get(suffix, 'increment of the motion')}, {word}"}
