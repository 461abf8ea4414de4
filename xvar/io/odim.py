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
from xvar.errors import Fault, InputError, InputWarning, require, warn
from xvar.io.formats import HDF5, way_out
from xvar.io.images import RAIN_RATE, REFLECTIVITY, cf_mapping, image_on_map, pixel_centres, rain_amount
from xvar.io.joining import join

#: Objects of ODIM that are an image on a map.
_OBJECTS = ("COMP", "IMAGE")
#: Attributes of the quantities of ODIM, in the order in which they are looked for.
_QUANTITIES: dict[str, Mapping[str, str]] = {
    **dict.fromkeys(("DBZH", "TH", "DBZV", "TV"), REFLECTIVITY),
    "RATE": RAIN_RATE,
}
#: An accumulation moves less clearly: it is read only if it is asked for.
_AMOUNT = "ACRR"
#: Relative error that corners of a map leave to the size of its pixels.
_TOLERANCE = 0.02


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
    return join([(path, read_image(path, quantity, sweep=sweep, spacing=spacing)) for path in names]).load()


def site_of(path: Path) -> str | None:
    """Return the name of the radar of a volume or scan of ODIM_H5, as its source states it; None of other files.

    The name is that of the node (NOD), else of the radar (RAD, PLC, WMO).
    """
    if not is_odim(path):
        return None
    import h5py

    try:
        with h5py.File(path) as file:
            if _text(file["what"].attrs["object"]) in _OBJECTS:
                return None
            words = _text(file["what"].attrs["source"]).split(",")
    except (OSError, RuntimeError, KeyError):
        return None
    parts = dict(word.partition(":")[::2] for word in words)
    return next((parts[key].strip() for key in ("NOD", "RAD", "PLC", "WMO") if parts.get(key)), None)


def read_image(path: Path, quantity: str | None, *, sweep: int = 0, spacing: float = 1000.0) -> xr.Dataset:
    """Return the lazy image of one file, see `open_odim`."""
    if _object_of(path) in _OBJECTS:
        return _composite(path, quantity)
    return _volume(path, quantity, sweep, spacing)


def _volume(path: Path, quantity: str | None, sweep: int, spacing: float) -> xr.Dataset:
    """Return the image of a volume or scan on the plane."""
    require("xradar", "radar", f"{path}, a radar volume of ODIM_H5,")  # registers the engine
    from xradar.georeference import get_x_y_z

    try:
        with xr.open_dataset(path, group=f"sweep_{sweep}", engine="odim") as opened:
            rays = get_x_y_z(opened.load())
    except (OSError, RuntimeError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        what = f"no sweep {sweep} that xradar can read: {type(error).__name__}: {str(error)[:200]}"
        expected = "a volume, a scan or a composite of ODIM_H5"
        raise _refused("unreadable-file", path, what, expected, f"sweep=0; {way_out(error)}") from error
    name = _choose(path, quantity, map(str, rays.data_vars))
    units = _QUANTITIES[name]["units"]
    field = rays[name].assign_attrs(_QUANTITIES[name])
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
    source = f"radar volume {path.name}"
    attrs = _QUANTITIES[name]
    return image_on_map(name, lambda: plane, attrs, times=[time], y=metres, x=metres, mapping=mapping, source=source)


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
        raise _refused("unreadable-file", path, what, "a composite of ODIM_H5", way_out(error)) from error


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

    fields = {_text(attrs["quantity"]): (place, attrs) for place, attrs in _fields(file)}
    name = _AMOUNT if quantity == _AMOUNT and _AMOUNT in fields else _choose(path, quantity, fields)
    place, attrs = fields[name]
    where = _merged(file, place, "where")
    crs = pyproj.CRS.from_string(_text(where["projdef"]))
    rows, columns = file[place]["data"].shape
    y, x = _axes(where, crs, rows, columns, path)
    moment = "".join(_text(file["what"].attrs[part]) for part in ("date", "time"))
    image = image_on_map(
        name,
        lambda: _values(path, place, attrs, name),
        rain_amount(_minutes(attrs)) if name == _AMOUNT else _QUANTITIES[name],
        times=[datetime.datetime.strptime(moment, "%Y%m%d%H%M%S")],
        y=y,
        x=x,
        mapping=cf_mapping(crs),
        source=f"radar composite {path.name}",
    )
    words = (_text(attrs[key]) for key in ("product", "prodname") if key in attrs)
    return image.assign_attrs(product=" ".join(words))


def _values(path: Path, place: str, attrs: Mapping[str, Any], name: str) -> NDArray[Any]:
    """Return the values of a composite: NaN for nodata, no rain or the least reflectivity for undetect."""
    import h5py

    with h5py.File(path) as file:
        codes = file[place]["data"][()]
    nothing = NOTHING if _QUANTITIES.get(name) is REFLECTIVITY else 0.0
    values = codes * float(attrs.get("gain", 1.0)) + float(attrs.get("offset", 0.0))
    values[codes == attrs.get("undetect", np.nan)] = nothing
    values[codes == attrs.get("nodata", np.nan)] = np.nan
    return np.asarray(values)


def _axes(
    where: Mapping[str, Any], crs: Any, rows: int, columns: int, path: Path
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return y, from north to south, and x of the middles of the pixels, from the corners and the size of a pixel."""
    import pyproj

    place = pyproj.Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True)
    corners = {
        name: place.transform(float(where[f"{name}_lon"]), float(where[f"{name}_lat"]))
        for name in ("LL", "LR", "UL")
        if f"{name}_lon" in where
    }
    step_x, step_y = float(where["xscale"]), float(where["yscale"])
    if {"LL", "LR", "UL"} <= set(corners):
        found = (corners["LR"][0] - corners["LL"][0]) / columns, (corners["UL"][1] - corners["LL"][1]) / rows
        ratios = found[0] / step_x, found[1] / step_y
        if all(abs(ratio / 1000 - 1) < _TOLERANCE for ratio in ratios):
            warn(f"{path}: pixels of {step_x:g} x {step_y:g} read as km: its corners say so", InputWarning)
            step_x, step_y = 1000 * step_x, 1000 * step_y
        elif any(abs(ratio - 1) > _TOLERANCE for ratio in ratios):
            what = f"pixels of {step_x:g} x {step_y:g} m, and corners that {found[0]:.6g} x {found[1]:.6g} m fit"
            raise _refused("implausible-spacing", path, what, "corners and pixels that agree", "ask its producer")
    if "UL_x" in where:
        west, north = float(where["UL_x"]), float(where["UL_y"])
    else:
        west, north = corners["LL"][0], corners["LL"][1] + rows * step_y
    return pixel_centres(north, -step_y, rows), pixel_centres(west, step_x, columns)


def _fields(file: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the places of the images of a file, with what is said of them."""
    for dataset in sorted(key for key in file if key.startswith("dataset")):
        for data in sorted(key for key in file[dataset] if key.startswith("data")):
            place = f"{dataset}/{data}"
            attrs = _merged(file, place, "what")
            if "quantity" in attrs:
                yield place, attrs


def _merged(file: Any, place: str, name: str) -> dict[str, Any]:
    """Return the attributes of the groups of a name, of the file and around an image: the innermost counts."""
    dataset = place.partition("/")[0]
    groups = (file[group].attrs for group in (name, f"{dataset}/{name}", f"{place}/{name}") if group in file)
    return {key: value for attrs in groups for key, value in attrs.items()}


def _minutes(attrs: Mapping[str, Any]) -> float:
    """Return the time over which an amount fell."""
    begin, end = (
        datetime.datetime.strptime(_text(attrs[f"{which}date"]) + _text(attrs[f"{which}time"]), "%Y%m%d%H%M%S")
        for which in ("start", "end")
    )
    return (end - begin).total_seconds() / 60


def _text(value: Any) -> str:
    value = np.ravel(value)[0]
    return value.decode() if isinstance(value, bytes) else str(value)
