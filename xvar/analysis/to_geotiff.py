"""Motion or a forecast as GeoTIFF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from xvar.analysis.exported import Exported, Of, text_of
from xvar.analysis.outputs import SHOWN, Part
from xvar.cf import geodesy
from xvar.cf.geodesy import Floats
from xvar.cf.grid.coordinates import measured, scaled
from xvar.errors import Fault, InputError, require
from xvar.io.writing import check_target, durable

SUFFIXES = (".tif", ".tiff")
EVEN = 1e-3  # largest difference of spacings, over their mean


def to_geotiff(
    data: xr.Dataset,
    path: str | Path,
    of: Of | None = None,
    *,
    part: Part = SHOWN,
    window: int = -1,
    overwrite: bool = False,
) -> Path:
    """Write the motion, or a forecast, as a cloud-optimised GeoTIFF.

    Bands are u, v, speed and direction (in degrees clockwise from north) of the motion, or the lead times of a
    forecast; their descriptions name them. The map is that of the data. It is written whole or not at all.

    Parameters
    ----------
    data : Dataset
        An analysis, a forecast without members, or a nowcast.
    path : str or Path
        A name that ends in .tif.
    of : {"motion", "forecast"}, optional
        Default: the forecast, if there is one.
    part : {"steady", "total"}
        Part of the motion, as in `xvar.plot.maps.motion`.
    window : int
        Which window; default: the last.
    overwrite : bool
        Replace what is there.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If `data` is no such output; if its grid has no map projection, or is not evenly spaced; without rioxarray.
    """
    target = check_target(path, overwrite=overwrite, suffixes=SUFFIXES, usual=".tif")
    require("rioxarray", "geotiff", "GeoTIFF")
    exported = Exported.read(data, of, window, part)
    if exported.of == "motion":
        fields = exported.motion()
        bands = {name: fields[name] for name in ("u", "v", "speed", "direction")}
    else:
        leads = exported.variable.transpose("lead_time", *exported.plane)
        bands = {text_of(time): field for time, field in zip(leads["time"].values, leads.values, strict=True)}
    y, x, reference = _map(exported)
    image = xr.DataArray(
        np.stack(list(bands.values())).astype("float32"),
        {"y": y, "x": x},
        ("band", "y", "x"),
        attrs={"long_name": tuple(bands)},
    ).sortby("y", ascending=False)
    image = image.sortby("x").rio.write_crs(reference).rio.write_nodata(np.nan)
    with durable(target) as file:
        image.rio.to_raster(file.name, driver="COG", compress="DEFLATE")
    return target


def _map(exported: Exported) -> tuple[Floats, Floats, str]:
    """Return the coordinates of rows and columns on the map, and the map as WKT."""
    like = exported.data["u"] if exported.of == "motion" else exported.variable
    rows, columns = (like.coords.get(dim) for dim in exported.plane)
    reference = geodesy.projection_of(like, exported.data)
    if rows is not None and columns is not None:
        y, x = scaled(rows), scaled(columns)
        if reference is None and (measured(rows), measured(columns)) == ("latitude", "longitude"):
            text: str | None = "EPSG:4326"
        else:
            text = None if reference is None else str(reference.to_wkt())
        if reference is not None and not reference.is_geographic and reference.axis_info:
            y, x = (part / float(reference.axis_info[0].unit_conversion_factor) for part in (y, x))
        steps = [np.diff(part) for part in (y, x)]
        if text is not None and all(np.ptp(step) <= EVEN * abs(step.mean()) for step in steps):
            return y, x, text
    raise InputError(
        Fault(
            found="a grid that is not evenly spaced on a map projection",
            expected="1-D coordinates at equal distances, and a grid mapping that can be read",
            fix="GeoJSON or CSV, which take any grid: to_geojson(), to_table()",
            code="no-map-for-geotiff",
        )
    )
