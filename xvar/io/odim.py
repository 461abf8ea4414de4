"""Radar volumes and scans of ODIM_H5, read by xradar, as images around the radar; composites on their own map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.kinds import detected, kind, physical_limits
from xvar.errors import require
from xvar.io.composite import OBJECTS, QUANTITIES, choose, image_on_map, object_of, open_composite, refused
from xvar.io.formats import HDF5


def is_odim(path: Path) -> bool:
    """Return True if a file states that it is ODIM_H5."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        if file.read(len(HDF5)) != HDF5:
            return False
        return b"ODIM_H5/" in file.read(1_000_000)


def open_odim(
    paths: str | Path | Sequence[str | Path], quantity: str | None = None, *, sweep: int = 0, spacing: float = 1000.0
) -> xr.Dataset:
    r"""Open composites, or polar volumes or scans of one radar, a file a time.

    Composites keep their map. Volumes and scans become images on a plane around the radar: each point has the value of
    the nearest gate, by azimuth and by distance along the ground [1]_. Points beyond the last gate, or not looked at
    (nodata), are missing; if nothing was detected (undetect) they have the least reflectivity, or no rain.

    Parameters
    ----------
    paths : path or sequence of paths
        Files of ODIM_H5, in any order.
    quantity : str, optional
        ODIM's name of it; by default ``DBZH``, else the first of reflectivity or rain.
    sweep : int
        Of volumes, the number of the elevation.
    spacing : float
        Of volumes, metres between points.

    Returns
    -------
    Dataset
        The quantity (time, y, x), with the grid mapping of the composite, or an azimuthal equidistant one centred on
        the radar.

    Raises
    ------
    InputError
        If xradar is missing, a file cannot be read, lacks the quantity or sweep, or is of another radar.

    References
    ----------
    .. [1] Doviak, R. J. and Zrnić, D. S. (1993). Doppler Radar and Weather Observations, eq. 2.28 (paths on an Earth of
       4/3 of its radius). doi:10.1016/C2009-0-22358-0
    """
    names = [Path(path) for path in ([paths] if isinstance(paths, (str, Path)) else paths)]
    require("xradar", "radar", f"{names[0]}, a radar volume of ODIM_H5,")  # registers the engine
    images = [
        open_composite(path, quantity) if object_of(path) in OBJECTS else _image(path, quantity, sweep, spacing)
        for path in names
    ]
    for path, other in zip(names, images, strict=True):
        same = other["crs"].attrs == images[0]["crs"].attrs and all(other[n].equals(images[0][n]) for n in ("y", "x"))
        if not same:
            found = f"another radar, range or map than {names[0]}"
            raise refused("different-grids", path, found, "files of one radar or map", "run them apart")
        if set(other.data_vars) != set(images[0].data_vars):
            expected = f"{sorted(map(str, images[0].data_vars))}"
            raise refused("different-quantities", path, "another quantity", expected, 'quantity="..."')
    crs = images[0]["crs"]
    record = xr.concat([image.drop_vars("crs") for image in images], "time", join="override", combine_attrs="override")
    return record.assign(crs=crs).sortby("time")


def _image(path: Path, quantity: str | None, sweep: int, spacing: float) -> xr.Dataset:
    """Return the image of a volume or scan on the plane."""
    from xradar.georeference import get_x_y_z

    try:
        with xr.open_dataset(path, group=f"sweep_{sweep}", engine="odim") as opened:
            rays = get_x_y_z(opened.load())
    except (OSError, RuntimeError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        what = f"no sweep {sweep} that xradar can read: {type(error).__name__}: {str(error)[:200]}"
        expected = "a volume, a scan or a composite of ODIM_H5"
        raise refused("unreadable-file", path, what, expected, "sweep=0; copy or download it again") from error
    name = choose(path, quantity, map(str, rays.data_vars))
    units, standard_name = QUANTITIES[name]
    field = rays[name].assign_attrs(units=units, standard_name=standard_name)
    field.encoding = rays[name].encoding
    what = kind(field)
    values = detected(field, what, physical_limits(what, units, None), []).transpose("azimuth", "range").values
    plane, metres = _on_plane(rays, values, spacing)
    latitude, longitude = (float(rays[key]) for key in ("latitude", "longitude"))
    mapping = {
        "grid_mapping_name": "azimuthal_equidistant",
        "latitude_of_projection_origin": latitude,
        "longitude_of_projection_origin": longitude,
        "semi_major_axis": 6378137.0,
        "inverse_flattening": 298.257223563,
    }
    time = rays["time"].values.min() if "time" in rays else np.datetime64("NaT", "ns")
    return image_on_map(name, plane, time, (metres, metres), mapping, f"radar volume {path.name}")


def _on_plane(rays: xr.Dataset, values: NDArray[Any], spacing: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the values of the nearest gates at the points of a plane, and the coordinate of both axes."""
    along = np.hypot(rays["x"].values, rays["y"].values)[0]  # distance of the gates along the ground
    half = int(along[-1] // spacing)
    metres = spacing * np.arange(-half, half + 1)
    x, y = np.meshgrid(metres, metres)
    distance = np.hypot(x, y)
    gate = np.searchsorted((along[1:] + along[:-1]) / 2, distance)
    order = np.argsort(rays["azimuth"].values)
    azimuth = rays["azimuth"].values[order]
    turned = np.concatenate([azimuth[-1:] - 360, azimuth, azimuth[:1] + 360])
    bearing = np.rad2deg(np.arctan2(x, y)) % 360
    nearest = np.searchsorted((turned[1:] + turned[:-1]) / 2, bearing)
    ray = np.concatenate([order[-1:], order, order[:1]])[nearest]
    beyond = distance > along[-1] + (along[-1] - along[-2]) / 2
    return np.where(beyond, np.nan, values[ray, gate]), metres
