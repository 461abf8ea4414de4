"""MeteoSwiss, GIF: rain amounts as colours of a palette (its HDF5 is ODIM)."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.errors import require
from xvar.io.images import cf_mapping, image_on_map, pixel_centres, rain_amount

_COMMENT = re.compile(r"PRDT=(?P<product>[A-Z]{3})(?P<time>\d{9}).*?ACCUm=(?P<minutes>\d+)", re.DOTALL)
#: Map of the Swiss composites of 640 x 710 km; their GIF states none.
_MAP = (
    "+proj=somerc +lat_0=46.9524055555556 +lon_0=7.43958333333333 +k_0=1 +x_0=600000 +y_0=200000 +ellps=bessel"
    " +towgs84=674.374,15.056,405.346,0,0,0,0 +units=m"
)
_SHAPE = (640, 710)
_WEST, _NORTH, _STEP = 255_000.0, 480_000.0, 1000.0


def owns(path: Path) -> bool:
    """Return True if the comment of a GIF is that of an amount of rain by MeteoSwiss."""
    with path.open("rb") as file:
        head = file.read(65_536).decode("latin-1")
    return "Meteoswiss" in head and "SCALE=mmh2" in head and _COMMENT.search(head) is not None


def read(path: Path, quantity: str | None) -> xr.Dataset:
    """Return the image of a GIF: colours 2 to 250 are levels of Z = 316 R^1.5, 255 is outside of the range."""
    import pyproj

    pillow = require("PIL.Image", "pictures", f"{path.name}, a GIF of MeteoSwiss,")
    with pillow.open(path, formats=["GIF"]) as picture:
        columns, rows = picture.size
        comment = picture.info["comment"]
    told = _COMMENT.search(comment.decode("latin-1") if isinstance(comment, bytes) else comment)
    if told is None or (rows, columns) != _SHAPE:
        raise ValueError(f"{rows} x {columns} points, comment {comment!r}")
    minutes = int(told["minutes"])

    def values() -> NDArray[Any]:
        with pillow.open(path, formats=["GIF"]) as picture:
            return np.asarray(_AMOUNTS[np.asarray(picture)])

    return image_on_map(
        "rain",
        values,
        rain_amount(minutes),
        times=[datetime.strptime(told["time"], "%y%j%H%M")],
        y=pixel_centres(_NORTH, -_STEP, rows),
        x=pixel_centres(_WEST, _STEP, columns),
        mapping=cf_mapping(pyproj.CRS.from_string(_MAP)),
        source=f"MeteoSwiss {path.name}",
    )


def _amounts() -> NDArray[np.float64]:
    """Return the amounts in mm of all colours."""
    levels = np.arange(256)
    amounts = (10 ** ((levels - 71.5) / 20) / 316) ** (1 / 1.5)
    return np.where(levels == 255, np.nan, np.where((levels < 2) | (levels > 250), 0.0, amounts))


_AMOUNTS = _amounts()
