"""Images on a map as a Dataset (time, y, x): values are read when they are needed, one chunk a file."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

Floats = NDArray[np.float32]

#: Units and standard names by a short name of the quantity.
RAIN_RATE = {"units": "mm h-1", "standard_name": "rainfall_rate"}
REFLECTIVITY = {"units": "dBZ", "standard_name": "equivalent_reflectivity_factor"}


def rain_amount(minutes: float) -> dict[str, str]:
    """Return the attributes of rain in mm that fell over some minutes."""
    return {
        "units": "mm",
        "standard_name": "thickness_of_rainfall_amount",
        "cell_methods": f"time: sum (interval: {minutes:g} minutes)",
    }


def image_on_map(
    name: str,
    read: Callable[[], NDArray[Any]],
    attrs: Mapping[str, Any],
    *,
    times: Sequence[Any],
    y: NDArray[Any],
    x: NDArray[Any],
    mapping: Mapping[str, Any],
    source: str,
) -> xr.Dataset:
    """Return images (time, y, x) of a quantity on a map, with coordinates in metres (degrees for latitude_longitude).

    `read` returns the values as (y, x) or (time, y, x), with NaN for missing ones; it is called when they are needed.
    """
    import dask.array as da
    from dask.delayed import delayed

    shape = (len(times), len(y), len(x))

    def values() -> Floats:
        return np.asarray(read(), dtype="float32").reshape(shape)

    array = da.from_delayed(delayed(values)(), shape, np.float32)
    plane = mapping.get("grid_mapping_name") == "latitude_longitude"
    names = ("latitude", "longitude") if plane else ("projection_y_coordinate", "projection_x_coordinate")
    units = ("degrees_north", "degrees_east") if plane else ("m", "m")
    axes = {
        dim: (dim, values_, {"units": unit, "standard_name": standard_name})
        for dim, values_, unit, standard_name in zip(("y", "x"), (y, x), units, names, strict=True)
    }
    return xr.Dataset(
        {
            name: (("time", "y", "x"), array, {"long_name": name, **attrs, "grid_mapping": "crs"}),
            "crs": ((), np.int32(0), dict(mapping)),
        },
        {"time": ("time", np.array(times, dtype="datetime64[ns]"), {"standard_name": "time"}), **axes},
        {"source": source},
    )


def cf_mapping(crs: Any) -> dict[str, Any]:
    """Return a projection of pyproj as attributes of CF; what CF has no words for is in ``crs_wkt`` alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return dict(crs.to_cf())


def pixel_centres(first: float, step: float, count: int) -> NDArray[np.float64]:
    """Return the middles of pixels from the outer edge of the first one."""
    return np.asarray(first + step * (np.arange(count) + 0.5))
