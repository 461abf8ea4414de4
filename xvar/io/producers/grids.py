"""Producers whose files xarray's engines decode: what each leaves out of CF is added.

The functions take the decoded Dataset of one file, with its path, and return it with what they add; `xvar.io.opening`
completes time.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path

import numpy as np
import xarray as xr

from xvar.cf.kinds import NOTHING
from xvar.errors import InputWarning, warn
from xvar.io.images import RAIN_RATE, REFLECTIVITY, cf_mapping


def owns_rainfields(dataset: xr.Dataset) -> bool:
    """Bureau of Meteorology, Rainfields: an amount at a scalar valid_time."""
    return "rainfields" in str(dataset.attrs.get("source", "")).lower() and "valid_time" in dataset.variables


def read_rainfields(dataset: xr.Dataset, path: Path) -> xr.Dataset:
    """Add the time over which rain fell."""
    result = dataset.drop_vars([name for name in ("start_time", "x_bounds", "y_bounds") if name in dataset])
    if "start_time" in dataset and "precipitation" in dataset:
        minutes = float((dataset["valid_time"] - dataset["start_time"]) / np.timedelta64(1, "m"))
        result["precipitation"].attrs["cell_methods"] = f"time: sum (interval: {minutes:g} minutes)"
    return result


def owns_nwcsaf(dataset: xr.Dataset) -> bool:
    """EUMETSAT NWC SAF, GEO: scan angles described by global attributes."""
    return {"gdal_projection", "nominal_product_time", "product_name"} <= set(dataset.attrs)


def read_nwcsaf(dataset: xr.Dataset, path: Path) -> xr.Dataset:
    """Add the grid mapping; of the rain rates keep the intensity."""
    import pyproj

    fields = [name for name in ("crr_intensity", "crrph_intensity") if name in dataset] or _images(dataset)
    result = dataset[fields].drop_vars(["lon", "lat"], errors="ignore")
    mapping = cf_mapping(pyproj.CRS.from_string(str(dataset.attrs["gdal_projection"])))
    result["geostationary"] = ((), np.int32(0), mapping)
    for name in fields:
        extra = RAIN_RATE if str(name).endswith("_intensity") else {}
        result[name].attrs |= {**extra, "grid_mapping": "geostationary"}
        result[name].attrs.pop("ancillary_variables", None)
    return result


def owns_goes(dataset: xr.Dataset) -> bool:
    """NOAA GOES-R, level 2 of the imager: scan angles, time t."""
    return "goes_imager_projection" in dataset.variables and "t" in dataset.variables


def read_goes(dataset: xr.Dataset, path: Path) -> xr.Dataset:
    """Keep the product and its map, without the statistics of the file."""
    fields = [name for name in _images(dataset) if dataset[name].attrs.get("grid_mapping") and name != "DQF"]
    for name in fields:
        dataset[name].attrs.pop("ancillary_variables", None)
    return dataset[[*fields, "goes_imager_projection"]].drop_vars(
        [name for name in dataset.coords if name not in ("t", "x", "y")], errors="ignore"
    )


def owns_mrms(dataset: xr.Dataset) -> bool:
    """NOAA MRMS, GRIB2: parameters of a local table that decoders do not know."""
    return dataset.attrs.get("GRIB_centre") in (161, "161", "kwbc") and "unknown" in dataset


def read_mrms(dataset: xr.Dataset, path: Path) -> xr.Dataset:
    """Name the product after the file, with its units; values without coverage are missing."""
    product = path.name.removeprefix("MRMS_").split("_")[0]
    field = dataset["unknown"]
    rain = "Precip" in product or "QPE" in product
    lowest = 0.0 if rain else -90.0  # -3: no coverage, of reflectivity -999, and -99 nothing detected
    seen = field if rain else field.where(field != -99, NOTHING)
    attrs = {**(RAIN_RATE if rain else REFLECTIVITY), "long_name": product}
    image = seen.where(seen >= lowest).rename(product)
    image.attrs = attrs
    return image.to_dataset()


def owns_radolan(dataset: xr.Dataset) -> bool:
    """German Weather Service, RADOLAN composites: wradlib's engine."""
    return "radolanversion" in dataset.attrs


def read_radolan(dataset: xr.Dataset, path: Path) -> xr.Dataset:
    """Write units under the name that CF gives them."""
    result = dataset.drop_vars("prediction_time", errors="ignore").drop_attrs(deep=False)
    for variable in result.data_vars.values():
        if "unit" in variable.attrs:
            variable.attrs["units"] = variable.attrs.pop("unit")
        for key in ("valid_min", "valid_max"):
            variable.attrs.pop(key, None)
    return result


def owns_ghrsst(dataset: xr.Dataset) -> bool:
    """Group for High Resolution SST: level 3 and 4."""
    names = set(dataset.data_vars)
    return bool(names & {"analysed_sst", "sea_surface_temperature"}) and (
        "gds" in str(dataset.attrs.get("gds_version_id", "")).lower()
        or "gds_version_id" in dataset.attrs
        or bool(names & {"sst_dtime", "l2p_flags", "analysis_error"})
    )


def read_ghrsst(dataset: xr.Dataset, path: Path) -> xr.Dataset:
    """Keep the temperature and the mask of land; of level 3, values of quality 4 and 5 alone."""
    name = "analysed_sst" if "analysed_sst" in dataset else "sea_surface_temperature"
    field = dataset[name]
    if "quality_level" in dataset:
        field = field.where(dataset["quality_level"] >= 4).assign_attrs(field.attrs)
        field.attrs["comment"] = "quality_level 4 and 5"
    field.attrs.pop("ancillary_variables", None)
    return dataset[[*(["mask"] if "mask" in dataset else [])]].assign({name: field})


def owns_levels(dataset: xr.Dataset) -> bool:
    """CMEMS, ROMS and others: a sea in levels."""
    return bool(_levels(dataset))


def read_levels(dataset: xr.Dataset, path: Path) -> xr.Dataset:
    """Take the level nearest to the surface."""
    chosen = {}
    for dim in _levels(dataset):
        depth = dataset[dim] if dim in dataset.coords else xr.DataArray(np.arange(dataset.sizes[dim])[::-1], dims=[dim])
        chosen[dim] = int(np.abs(depth.values).argmin())
        if dataset.sizes[dim] > 1:
            value = f"{float(depth[chosen[dim]]):g}" if dim in dataset.coords else f"number {chosen[dim]}"
            text = f"of {dataset.sizes[dim]} levels along {str(dim)!r} the one nearest to the surface is read, {value};"
            warn(f"{text} another: xarray.open_dataset(path).isel({dim}=...)", InputWarning)
    return dataset.isel(chosen, drop=True)


def _levels(dataset: xr.Dataset) -> list[Hashable]:
    """Return the vertical dimensions of a sea: sigma of ROMS, depths."""
    return [
        dim
        for dim in dataset.dims
        if str(dim) in ("s_rho", "depth", "deptht")
        or str(dim in dataset.coords and dataset[dim].attrs.get("standard_name", "")).startswith("ocean_s")
    ]


def _images(dataset: xr.Dataset) -> list[Hashable]:
    """Return the variables of the largest plane."""
    planes = [name for name, part in dataset.data_vars.items() if part.ndim >= 2]
    largest = max((dataset[name].size for name in planes), default=0)
    return [name for name in planes if dataset[name].size == largest and dataset[name].dtype.kind in "fiu"]
