"""KNMI, HDF5 of its own kind: rain amounts and reflectivity on a stereographic map."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.io.images import REFLECTIVITY, cf_mapping, image_on_map, pixel_centres, rain_amount

_FORMULA = re.compile(r"GEO\s*=\s*(?P<gain>[-+.\deE]+)\s*\*\s*PV\s*(?P<offset>[-+.\deE]*)", re.IGNORECASE)
_KILOMETRES = re.compile(r"\+([ab])=(\d{4}(?:\.\d*)?)(?=\s|$)")


def owns(path: Path) -> bool:
    """Return True if an HDF5 file has the groups of KNMI's."""
    import h5py

    with h5py.File(path) as file:
        return "image1/calibration" in file and "geographic/map_projection" in file and "overview" in file


def read(path: Path, quantity: str | None) -> xr.Dataset:
    """Return the first image of a file; `quantity` has no choice here."""
    import h5py
    import pyproj

    with h5py.File(path) as file:
        unit_of_image = _text(file["image1"].attrs["image_geo_parameter"]).upper()
        place, codes = dict(file["geographic"].attrs), dict(file["image1/calibration"].attrs)
        begin, end = (_moment(file["overview"].attrs[f"product_datetime_{which}"]) for which in ("start", "end"))
        projection = _text(file["geographic/map_projection"].attrs["projection_proj4_params"])
    step_x, step_y, first_column, first_row = (
        float(np.ravel(place[f"geo_{key}"])[0])
        for key in ("pixel_size_x", "pixel_size_y", "column_offset", "row_offset")
    )
    rows, columns = (int(np.ravel(place[f"geo_number_{key}"])[0]) for key in ("rows", "columns"))
    # The axes of the ellipsoid are in kilometres, as are the pixels.
    projection = _KILOMETRES.sub(lambda axis: f"+{axis[1]}={1000 * float(axis[2])}", projection)
    unit = 1000.0 if _text(place["geo_dim_pixel"]).upper().startswith("KM") else 1.0
    step_x, step_y = unit * step_x, unit * step_y
    reflectivity = "DBZ" in unit_of_image
    formula = _FORMULA.search(_text(codes["calibration_formulas"]))
    if formula is None:
        raise ValueError(f"calibration_formulas {_text(codes['calibration_formulas'])!r}")
    gain, offset = float(formula["gain"]), float(formula["offset"] or 0)
    unknown = {int(np.ravel(codes[key])[0]) for key in ("calibration_missing_data", "calibration_out_of_image")}

    def values() -> NDArray[Any]:
        with h5py.File(path) as file:
            stored = file["image1/image_data"][()]
        return np.where(np.isin(stored, list(unknown)), np.nan, gain * stored + offset)

    return image_on_map(
        "reflectivity" if reflectivity else "rain",
        values,
        REFLECTIVITY if reflectivity else rain_amount((end - begin).total_seconds() / 60),
        times=[end],
        y=pixel_centres(step_y * first_row, step_y, rows),
        x=pixel_centres(step_x * first_column, step_x, columns),
        mapping=cf_mapping(pyproj.CRS.from_string(projection)),
        source=f"KNMI {path.name}",
    )


def _text(value: Any) -> str:
    value = np.ravel(value)[0]
    return value.decode() if isinstance(value, bytes) else str(value)


def _moment(value: Any) -> datetime:
    return datetime.strptime(_text(value), "%d-%b-%Y;%H:%M:%S.%f")
