"""A grid mapping variable as CF wants it: a scalar int whose attributes state the projection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from xvar.cf.geodesy import FIGURE, projection

_COMMON = frozenset(
    {
        *("grid_mapping_name", "crs_wkt", "geographic_crs_name", "horizontal_datum_name", "projected_crs_name"),
        *("prime_meridian_name", "reference_ellipsoid_name", "earth_radius", "semi_major_axis", "semi_minor_axis"),
        *("inverse_flattening", "longitude_of_prime_meridian", "towgs84", "geoid_name", "geopotential_datum_name"),
        *("long_name", "comment", "false_easting", "false_northing"),
        # Not of CF, but what other programs read.
        *("spatial_ref", "GeoTransform", "proj4", "proj4_string", "proj4_params"),
    }
)

_NORTH, _EAST = "latitude_of_projection_origin", "longitude_of_projection_origin"
_MERIDIAN, _PARALLEL, _SCALE = "longitude_of_central_meridian", "standard_parallel", "scale_factor_at_projection_origin"

#: The mappings of CF (appendix F) and the attributes that each has beside the common ones.
_MAPPINGS: dict[str, tuple[str, ...]] = {
    "albers_conical_equal_area": (_PARALLEL, _MERIDIAN, _NORTH),
    "azimuthal_equidistant": (_NORTH, _EAST),
    "geostationary": (_NORTH, _EAST, "perspective_point_height", "sweep_angle_axis", "fixed_angle_axis"),
    "lambert_azimuthal_equal_area": (_NORTH, _EAST),
    "lambert_conformal_conic": (_PARALLEL, _MERIDIAN, _NORTH),
    "lambert_cylindrical_equal_area": (_MERIDIAN, _PARALLEL, _SCALE),
    "latitude_longitude": (),
    "mercator": (_EAST, _PARALLEL, _SCALE),
    "oblique_mercator": (_NORTH, _EAST, "azimuth_of_central_line", _SCALE),
    "orthographic": (_NORTH, _EAST),
    "polar_stereographic": ("straight_vertical_longitude_from_pole", _NORTH, _PARALLEL, _SCALE),
    "rotated_latitude_longitude": (
        *("grid_north_pole_latitude", "grid_north_pole_longitude", "north_pole_grid_longitude"),
    ),
    "sinusoidal": (_EAST,),
    "stereographic": (_NORTH, _EAST, _SCALE),
    "transverse_mercator": ("scale_factor_at_central_meridian", _MERIDIAN, _NORTH),
    "vertical_perspective": (_NORTH, _EAST, "perspective_point_height"),
}


def rewritten(attributes: Mapping[str, Any], notes: list[str], name: str) -> xr.Variable | None:
    """Return a grid mapping variable made anew, a scalar int32; None if its attributes make no mapping of CF."""
    kept = dict(attributes)
    reference = projection(kept)
    if kept.get("grid_mapping_name") not in _MAPPINGS:
        made = {} if reference is None else reference.to_cf()
        if made.get("grid_mapping_name") not in _MAPPINGS:
            notes.append(f"grid mapping {name} dropped: no mapping of CF")
            return None
        notes.append(f"grid mapping {name} completed as {made['grid_mapping_name']}")
        kept.update(made)
    own = _MAPPINGS[str(kept["grid_mapping_name"])]
    result = {key: _plain(value) for key, value in kept.items() if key in _COMMON or key in own}
    foreign = [key for key in kept if key not in {*result, "coordinates", "_FillValue", "units"}]
    notes.extend(f"attribute {key} of {name} dropped: no attribute of {kept['grid_mapping_name']}" for key in foreign)
    if reference is not None and not any(key in result for key in FIGURE) and reference.ellipsoid is not None:
        ellipsoid = reference.ellipsoid
        if ellipsoid.semi_major_metre == ellipsoid.semi_minor_metre:
            result["earth_radius"] = float(ellipsoid.semi_major_metre)
        else:
            result["semi_major_axis"] = float(ellipsoid.semi_major_metre)
            result["inverse_flattening"] = float(ellipsoid.inverse_flattening)
        notes.append(f"figure of the Earth of {name} completed from its PROJ string")
    return xr.Variable((), np.int32(0), result)


def _plain(value: Any) -> Any:
    """Return a value that a file can hold: text, a float64 or float64s."""
    if isinstance(value, (str, bytes)):
        return value if isinstance(value, str) else value.decode("utf-8", "replace")
    numbers = np.asarray(value, dtype=np.float64)
    return float(numbers) if numbers.ndim == 0 else numbers
