"""Finnish Meteorological Institute: reflectivity as PGM and as GeoTIFF."""

from __future__ import annotations

import html
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.kinds import NOTHING
from xvar.io.images import REFLECTIVITY, cf_mapping, image_on_map, pixel_centres

#: Radius of the Earth with which the corners and the size of the pixels agree.
_RADIUS = 6371288.0
_HEADER = 65_536


def owns_pgm(path: Path) -> bool:
    """Return True if comments of a PGM file state time and projection."""
    with path.open("rb") as file:
        head = file.read(_HEADER)
    return all(word in head for word in (b"# obstime", b"# projection", b"# metersperpixel_x"))


def read_pgm(path: Path, quantity: str | None) -> xr.Dataset:
    """Return the image of a PGM file, whose comments have its metadata."""
    import pyproj

    content = path.read_bytes()
    comments = re.findall(rb"^#[ \t]*(\w+)[ \t]+([^\n]*)", content[:_HEADER], re.MULTILINE)
    told = {key.decode(): text.decode("ascii", "replace").split() for key, text in comments}
    frame = re.search(rb"^(\d+)\s+(\d+)\s+(\d+)\s", content[:_HEADER], re.MULTILINE)
    if frame is None or told["type"][0] != "stereographic":
        raise ValueError("a size and a stereographic projection are not in its header")
    columns, rows, missing = map(int, frame.groups())
    codes = np.frombuffer(content, np.uint8, rows * columns, frame.end()).reshape(rows, columns)
    crs = pyproj.CRS.from_string(
        f"+proj=stere +lat_0={told['centrallatitude'][0]} +lon_0={told['centrallongitude'][0]}"
        f" +lat_ts={told['truelatitude'][0]} +R={_RADIUS}"
    )
    place = pyproj.Proj(crs)
    (west, south), (east, north) = (
        place(float(told[key][0]), float(told[key][1])) for key in ("bottomleft", "topright")
    )
    return image_on_map(
        "DBZH",
        lambda: _reflectivity(codes, 0.5, -32.0, missing, 0),
        {**REFLECTIVITY, "long_name": told["param"][0]},
        times=[datetime.strptime(told["obstime"][0], "%Y%m%d%H%M")],
        y=pixel_centres(north, (south - north) / rows, rows),
        x=pixel_centres(west, (east - west) / columns, columns),
        mapping=cf_mapping(crs),
        source=f"FMI {path.name}",
    )


def owns_geotiff(dataset: xr.Dataset) -> bool:
    """Return True if the tags of a GeoTIFF have the items of FMI's."""
    return {"Observation time", "Quantity", "Gain", "Undetect"} <= set(_items(dataset))


def read_geotiff(dataset: xr.Dataset, path: Path) -> xr.Dataset:
    """Return the image of a GeoTIFF, whose tags have its metadata."""
    told, band = _items(dataset), dataset["band_data"].isel(band=0, drop=True)
    gain, offset, nodata, undetect = (float(told[key]) for key in ("Gain", "Offset", "Nodata", "Undetect"))
    image = xr.apply_ufunc(
        _reflectivity, band, gain, offset, nodata, undetect, dask="parallelized", output_dtypes=[np.float32]
    )
    moment = np.datetime64(datetime.strptime(told["Observation time"], "%Y%m%d%H%M"), "ns")
    image.attrs = {**REFLECTIVITY, "long_name": told["Quantity"], "grid_mapping": "spatial_ref"}
    for dim in ("y", "x"):
        image[dim].attrs = {"units": "m", "standard_name": f"projection_{dim}_coordinate"}
    result: xr.Dataset = image.expand_dims(time=[moment]).to_dataset(name="DBZH")
    return result.assign_attrs(source=f"FMI {path.name}")


def _items(dataset: xr.Dataset) -> dict[str, str]:
    """Return the items of GDAL's metadata, which are escaped once or twice."""
    text = str(dataset.get("band_data", xr.DataArray()).attrs.get("GDAL_METADATA", ""))
    return dict(re.findall(r'<Item name="([^"]+)"[^>]*>([^<]*)</Item>', html.unescape(html.unescape(text))))


def _reflectivity(codes: NDArray[Any], gain: float, offset: float, nodata: float, undetect: float) -> NDArray[Any]:
    """Return dBZ of codes, NaN if not looked at, `NOTHING` if nothing was detected."""
    values = np.where(codes == undetect, NOTHING, gain * codes.astype("float32") + offset)
    return np.where(codes == nodata, np.nan, values).astype("float32")
