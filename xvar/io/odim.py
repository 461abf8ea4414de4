"""ODIM_H5: radar composites on their own map, read here, and volumes and scans, read by xradar, as images on a plane.

xradar reads polar files only; importers of composites elsewhere give neither times nor the difference of nodata and
undetect.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.kinds import NOTHING, detected, kind, physical_limits
from xvar.errors import Fault, InputError, require
from xvar.io.formats import HDF5

#: Objects of ODIM that are an image on a map.
_OBJECTS = ("COMP", "IMAGE")
#: Units and standard names of the quantities of ODIM.
_QUANTITIES = {
    **dict.fromkeys(("DBZH", "TH", "DBZV", "TV"), ("dBZ", "equivalent_reflectivity_factor")),
    "RATE": ("mm h-1", "rainfall_rate"),
}


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
        _composite(path, quantity) if _object_of(path) in _OBJECTS else _volume(path, quantity, sweep, spacing)
        for path in names
    ]
    for path, other in zip(names, images, strict=True):
        same = other["crs"].attrs == images[0]["crs"].attrs and all(other[n].equals(images[0][n]) for n in ("y", "x"))
        if not same:
            found = f"another radar, range or map than {names[0]}"
            raise _refused("different-grids", path, found, "files of one radar or map", "run them apart")
        if set(other.data_vars) != set(images[0].data_vars):
            expected = f"{sorted(map(str, images[0].data_vars))}"
            raise _refused("different-quantities", path, "another quantity", expected, 'quantity="..."')
    crs = images[0]["crs"]
    record = xr.concat([image.drop_vars("crs") for image in images], "time", join="override", combine_attrs="override")
    return record.assign(crs=crs).sortby("time")


def _volume(path: Path, quantity: str | None, sweep: int, spacing: float) -> xr.Dataset:
    """Return the image of a volume or scan on the plane."""
    from xradar.georeference import get_x_y_z

    try:
        with xr.open_dataset(path, group=f"sweep_{sweep}", engine="odim") as opened:
            rays = get_x_y_z(opened.load())
    except (OSError, RuntimeError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        what = f"no sweep {sweep} that xradar can read: {type(error).__name__}: {str(error)[:200]}"
        expected = "a volume, a scan or a composite of ODIM_H5"
        raise _refused("unreadable-file", path, what, expected, "sweep=0; copy or download it again") from error
    name = _choose(path, quantity, map(str, rays.data_vars))
    units, standard_name = _QUANTITIES[name]
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
    return _image_on_map(name, plane, time, (metres, metres), mapping, f"radar volume {path.name}")


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


def _object_of(path: Path) -> str:
    """Return the object of a file of ODIM_H5: PVOL, SCAN, COMP, ...; empty if it states none."""
    import h5py

    try:
        with h5py.File(path) as file:
            return _text(file["what"].attrs["object"])
    except (OSError, RuntimeError, KeyError):
        return ""


def _composite(path: Path, quantity: str | None) -> xr.Dataset:
    """Open one composite as an image (time, y, x) with its grid mapping, rows from north to south as in the file.

    The first of `_QUANTITIES` in the file is the default. Pixels that were not looked at (nodata) are missing;
    undetected ones have the least reflectivity, or no rain. InputError if the file cannot be read, lacks the quantity
    or the place of its pixels.
    """
    import h5py

    try:
        with h5py.File(path) as file:
            return _read(file, path, quantity)
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        what = f"no composite that can be read: {type(error).__name__}: {str(error)[:200]}"
        raise _refused("unreadable-file", path, what, "a composite of ODIM_H5", "copy or download it again") from error


def _refused(code: str, path: Path, found: str, expected: str, fix: str) -> InputError:
    """Return the error of a file."""
    return InputError(Fault(f"{path}: {found}", expected, fix, code=code))


def _choose(path: Path, quantity: str | None, names: Iterable[str]) -> str:
    """Return the quantity of a file that is asked for, else the first of `_QUANTITIES` among its names."""
    names = list(names)
    known = [name for name in _QUANTITIES if name in names]
    name = quantity or next(iter(known), "")
    if name not in known:
        found = f"no {quantity or 'reflectivity or rain'} among {', '.join(names) or 'nothing'}"
        fix = f"quantity={known[0]!r}" if known else "another file"
        raise _refused("unknown-quantity", path, found, f"one of {', '.join(_QUANTITIES)}", fix)
    return name


def _read(file: Any, path: Path, quantity: str | None) -> xr.Dataset:
    import pyproj

    fields = {str(attrs["quantity"]): (data, attrs) for data, attrs in _fields(file)}
    name = _choose(path, quantity, fields)
    data, attrs = fields[name]
    nothing = NOTHING if _QUANTITIES[name][0] == "dBZ" else 0.0
    codes = np.asarray(data)
    values = codes * float(attrs.get("gain", 1.0)) + float(attrs.get("offset", 0.0))
    values = np.where(codes == attrs.get("undetect", np.nan), nothing, values)
    values = np.where(codes == attrs.get("nodata", np.nan), np.nan, values)
    where = file["where"].attrs
    crs = pyproj.CRS.from_string(_text(where["projdef"]))
    step_x, step_y = float(where["xscale"]), float(where["yscale"])
    # The corner is that of the lowest pixel, not its middle.
    west, south = pyproj.Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True).transform(
        float(where["LL_lon"]), float(where["LL_lat"])
    )
    rows, columns = codes.shape
    moment = "".join(_text(file["what"].attrs[part]) for part in ("date", "time"))
    time = datetime.datetime.strptime(moment, "%Y%m%d%H%M%S")
    y, x = south + step_y * (np.arange(rows)[::-1] + 0.5), west + step_x * (np.arange(columns) + 0.5)
    return _image_on_map(name, values, time, (y, x), crs.to_cf(), f"radar composite {path.name}")


def _image_on_map(
    name: str,
    values: NDArray[Any],
    time: Any,
    coordinates: tuple[NDArray[Any], NDArray[Any]],
    mapping: Mapping[str, Any],
    source: str,
) -> xr.Dataset:
    """Return one image (time, y, x) of a quantity, with `coordinates` y and x in metres and its grid mapping."""
    units, standard_name = _QUANTITIES[name]
    attrs = {"units": units, "standard_name": standard_name, "long_name": name, "grid_mapping": "crs"}
    axes = {
        dim: (dim, metres, {"units": "m", "standard_name": f"projection_{dim}_coordinate"})
        for dim, metres in zip(("y", "x"), coordinates, strict=True)
    }
    return xr.Dataset(
        {name: (("time", "y", "x"), values[None].astype("float32"), attrs), "crs": ((), np.int32(0), mapping)},
        {"time": ("time", np.array([time], dtype="datetime64[ns]"), {"standard_name": "time"}), **axes},
        {"source": source},
    )


def _fields(file: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield the images of a file with their attributes, those of the group around included."""
    for dataset in (file[key] for key in sorted(file) if key.startswith("dataset")):
        around = dict(dataset["what"].attrs) if "what" in dataset else {}
        for group in (dataset[key] for key in sorted(dataset) if key.startswith("data")):
            attrs = around | (dict(group["what"].attrs) if "what" in group else {})
            yield group["data"], {**attrs, "quantity": _text(attrs["quantity"])}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
