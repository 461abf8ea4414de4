"""Motion towards east and north, on any grid."""

from __future__ import annotations

from functools import partial as bound

import xarray as xr

from xvar.analysis.outputs import read_analysis
from xvar.cf.axes import Axes
from xvar.cf.conventions import to_cf
from xvar.cf.grid import axis_directions
from xvar.cf.metadata import attributes
from xvar.errors import Faults

#: Vectors of an analysis, by the end of their names, and their description.
VECTORS = {
    "": "motion",
    "_forcing": "model error forcing of the motion",
    "_steady": "steady motion",
    "_transient": "transient part of the motion",
    "_increment": "increment of the motion",
}
COMPONENTS = ("eastward", "northward")


def to_geographic(data: xr.Dataset) -> xr.Dataset:
    r"""Add the motion towards east and north to an analysis.

    .. math:: u_{east} = u\, e_x^{east} + v\, e_y^{east}, \qquad u_{north} = u\, e_x^{north} + v\, e_y^{north}

    with the unit vectors e along increasing x and y at every point, from the grid mapping or from 2-D latitude and
    longitude. On a grid of latitude and longitude they equal u and v.

    Parameters
    ----------
    data : Dataset
        An analysis.

    Returns
    -------
    Dataset
        The analysis with ``eastward`` and ``northward`` in m s-1 and, if it has them, the components of the model error
        forcing, of the steady and the transient motion and of the increment (``eastward_forcing`` and so on). ``u`` and
        ``v`` stay: a forecast starts from them. Lazy if the analysis is.

    Raises
    ------
    InputError
        If `data` is no analysis, or the direction of north is unknown.

    Examples
    --------
    >>> import xarray as xr, xvar
    >>> ocean = xr.open_dataset("ocean.nc")  # doctest: +SKIP
    >>> analysis = ocean.var4d.assimilate("temperature", constraint="weak")  # doctest: +SKIP
    >>> analysis.var4d.to_geographic()["eastward"].attrs["standard_name"]  # doctest: +SKIP
    'surface_eastward_sea_water_velocity'
    """
    faults = Faults()
    analysed = faults.require(read_analysis(data, faults))
    configuration, plane = analysed.configuration, analysed.plane
    observed = data[f"{configuration.variable}_observed"]
    axes = Axes(time="window", y=plane[0], x=plane[1])
    directions = faults.require(axis_directions(observed, axes, analysed.grid, faults, mapping=data))
    name, kind = configuration.variable, configuration.kind
    standard_name = data[name].attrs.get("standard_name")
    describe = bound(attributes, variable=name, kind=kind, grid_kind="geographic", standard_name=standard_name)
    result = data.copy()
    for suffix in VECTORS:
        if not {f"u{suffix}", f"v{suffix}"} <= set(data.data_vars):
            continue
        u, v = (data[f"{part}{suffix}"] for part in "uv")
        for component, word in enumerate(COMPONENTS):
            x, y = (xr.DataArray(directions[axis, component].astype(u.dtype), dims=plane) for axis in (0, 1))
            attrs = {key: value for key, value in (u, v)[component].attrs.items() if key in ("units", "grid_mapping")}
            found = {"long_name": f"{VECTORS[suffix]}, {word}"} if suffix else describe("uv"[component])
            named = {key: found[key] for key in ("long_name", "standard_name") if key in found}
            result[f"{word}{suffix}"] = (x * u + y * v).transpose(*u.dims).assign_attrs(attrs | named)
    return to_cf(result, data, action="to_geographic()")
