"""Faults of a record and its values: what is expected and the fix of each, by its code."""

from __future__ import annotations

from xvar.errors import Faults

INTERPOLATE = "interpolate it onto the grid of the record, field.interp_like(record)"
_SWAPPED = "latitude and longitude may be swapped: check the units and the names of both"
_UNITS = "for example 'mm h-1' or '0.01 mm (5 min)-1' (rain), 'dBZ', 'degree_Celsius' or 'K', 'm', '1'"
_CORRECTED = "correct the 2-D latitude and longitude, or drop them and state dx=, dy="
_STATED = 'state them, units="..."'

#: Code -> what is expected, and the fix, with the place of the fault and words of the call in braces.
_TABLE = {
    # Variables and dimensions.
    "variable-missing": ("one data variable (time, y, x)", "{fix}"),
    "variable-ambiguous": ("the name of one of them", "{fix}"),
    "unknown-variable": ("the name of a data variable", "{fix}"),
    "repeated-dimension": ("a variable with time, y and x dimensions", "choose another variable"),
    "name-of-dimension": (
        "a name that none of its dimensions has",
        "ds.rename_dims({{{name!r}: {new!r}}}), then the variable is one of the data",
    ),
    "name-of-coordinate": ("a name of its own", 'rename it, array.rename("rain")'),
    "name-taken": (
        "another name: the analysis keeps it beside {others}",
        'rename it, ds.rename({{"{name}": "{new}"}})',
    ),
    "axis-ambiguous": (
        "one {word} dimension",
        "choose one value of the others, isel({choice}=0), or set coordinate attrs['axis']",
    ),
    "axis-missing": (
        "a dimension with axis={axis!r}, a CF standard_name, or a name such as {names}",
        "rename the dimension, or set attrs['axis'] = {axis!r} on its coordinate",
    ),
    "extra-dimension": ("dimensions ({order})", "{fix}"),
    "missing-dimension": (
        "dimensions ({order})",
        "rename its dimensions, or give their coordinates attrs['axis'] = 'Y' and 'X'",
    ),
    "other-size": ("size {size}, that of {record!r}", INTERPOLATE),
    "other-points": ("the points of {record!r}, to {share:g} of their spacing ({step:g}{units})", "{fix}"),
    # Values.
    "not-numeric": ("real numbers (integers or floats)", "choose a variable of numbers, or convert this one"),
    "not-decoded": ("decoded values", "open with mask_and_scale=True, or ds = xarray.decode_cf(ds)"),
    "unreadable-values": (
        "a file whose values can be read",
        "copy or download it again, or choose the frames that can be read, ds.isel(time=...)",
    ),
    "infinite-values": (
        "finite values, or NaN if nothing was observed (strict=True)",
        "strict=False takes them as missing",
    ),
    "no-values": ("at least one observed value", "check the fill values of the file and the selection"),
    "fill-value": ("NaN if nothing was observed", "{ds} = {ds}.where({ds} != {fill:g})"),
    "negative-rain": (
        "rain of zero or more",
        "{ds} = {ds}.clip(min=0), in the shell --clip-negative, or {ds} = {ds}.where({ds} >= 0) if they mean missing",
    ),
    "values-of-other-units": ("values in {units}", "write the units they are in, {ds}.attrs['units'] = \"{right}\""),
    "accumulated-rain": ("rain between one frame and the next", "{ds} = {ds}.diff({time!r})"),
    "grid-too-small": ("at least {minimum}", "give a larger domain"),
    "grid-too-large": (
        "{machine}",
        (
            "a part of the grid at a time, ds.isel({y}=slice(0, 1000), {x}=slice(0, 1000)), or a coarser one, "
            "ds.coarsen({y}=4, {x}=4, boundary='trim').mean()"
        ),
    ),
    "record-too-large": (
        "{machine}, or lazy data",
        "open it lazily, xarray.open_dataset(path, chunks={{{time!r}: 10}})",
    ),
    "units-of-other-quantity": (
        "units and standard_name of one quantity",
        "write the right one, {ds}.attrs['units'] = \"...\" or {ds}.attrs['standard_name'] = \"...\"",
    ),
    "units-missing": (f"units that UDUNITS reads, {_UNITS}", _STATED),
    "units-unreadable": (_UNITS, _STATED),
    "units-contradicted": (
        "units= only if the file states none: it asserts, and converts nothing",
        "leave units= out{hint}; if the file is wrong, {ds}.attrs['units'] = {fixed!r}",
    ),
    "land-unknown": ('the name of a mask variable, a DataArray, or "never_valid"', "{fix}"),
    "land-mask-unclear": (
        "booleans, True on land, or flag_values and flag_meanings",
        "land=ds[{mask!r}] == 0, if 0 is land",
    ),
    "land-everywhere": ("some water", "check the meaning of its values, land=~mask"),
    # Times.
    "time-missing": (
        "a coordinate of dates (datetime64 or cftime)",
        "ds.assign_coords({dimension}=pandas.date_range(...))",
    ),
    "time-missing-value": (
        "a date for every frame",
        "ds = ds.isel({dimension}=ds[{coordinate!r}].notnull().values), or write the dates",
    ),
    "time-not-decoded": ("{expected}", "{fix}"),
    "time-not-dates": ("{expected}", "{fix}"),
    "time-rounded": (
        "times to {share:.0%} of the time between frames",
        "ds.assign_coords({dimension}=pandas.date_range(...)), or write them in float64",
    ),
    "time-repeated": ("each time once", "ds.drop_duplicates({dimension!r})"),
    "time-unordered": ("ascending times", "sort=True, or ds.sortby({dimension!r})"),
    "too-few-frames": ("at least 2 frames: motion is what changes between frames", "give a longer record"),
    "calendar-differs": (
        "one calendar in a call",
        "convert_calendar({ours!r}), or drop_vars({dimension!r}) if it holds at any time",
    ),
    "duration-invalid": (
        'a positive duration such as "15min", "3D", datetime.timedelta or numpy.timedelta64',
        'write it with its unit, {name}="30min"',
    ),
    # Grids.
    "axes-swapped": ("latitude along y, longitude along x", "check the units and standard names of both coordinates"),
    "latitude-out-of-range": ("latitudes between -90 and 90", _SWAPPED),
    "pole": (
        "|lat| <= {highest:g}: columns of a latitude-longitude grid meet at the pole",
        "ds.where(abs({ds}) <= {highest:g}, drop=True), or a polar projection",
    ),
    "longitude-wrapped": (
        "columns from west to east",
        "ds = ds.assign_coords({{{variable!r}: {other}}}).sortby({variable!r})",
    ),
    "longitude-repeated": (
        "each longitude once, less than 360 degrees from first to last",
        "ds.isel({dimension}=slice(None, -1))",
    ),
    "coordinate-missing-value": (
        "finite coordinates",
        "ds = ds.isel({dimension}={ds}.notnull().values), or write its values",
    ),
    "coordinate-not-monotonic": (
        "a coordinate that only ascends or only descends",
        "ds.sortby({dimension!r}), or ds.drop_duplicates({dimension!r})",
    ),
    "coordinate-uneven": (
        "even spacing (to {tolerance:g} of a step), or steps that change by < {ratio:.0%}",
        "regrid, or fill in the missing rows with NaN (ds.reindex)",
    ),
    "position-invalid": (
        "2-D latitude and longitude of every point, on land too",
        (
            "ds = ds.assign_coords({{n: ds[n]{kept}.interpolate_na({x!r}, use_coordinate=False, "
            "fill_value='extrapolate') for n in {names!r}}}), or drop both, ds.drop_vars({names!r}), and state dx=, dy="
        ),
    ),
    "position-repeated": ("a position of its own for every point", _CORRECTED),
    "position-outlier": ("smooth 2-D latitude and longitude", _CORRECTED),
    "grid-moves": (
        "one grid for all frames",
        'regrid the frames onto one grid, or, if {variable!r} is no position, ds.drop_vars("{variable}")',
    ),
    "spacing-invalid": ("both dx= and dy=, positive metres", "dx=1000.0, dy=1000.0"),
    "spacing-unknown": (
        "x and y in a unit of length (attrs['units'] = 'm' or 'km'), or latitude and longitude in degrees",
        "{fix}",
    ),
    "mapping-domain": (
        "coordinates that belong to the mapping",
        "check the units of x and y and the grid mapping, crop to the Earth's disk, or drop its attribute",
    ),
    "mapping-inconsistent": (
        "spacings that agree to {share:.0%}",
        "correct the grid mapping or the coordinates, or drop the one that is wrong",
    ),
    "north-unknown": (
        "a readable grid mapping, or 2-D latitude and longitude",
        "add the coordinates before the analysis, ds.assign_coords(lat=(('y', 'x'), ...), lon=...)",
    ),
}


def add(
    faults: Faults,
    code: str,
    found: str,
    variable: object = None,
    dimension: object = None,
    index: object = None,
    **words: object,
) -> None:
    """Add a fault of the table."""
    place = {"variable": str(variable), "dimension": str(dimension), "ds": f"ds[{str(variable)!r}]", **words}
    expected, fix = (text.format(**place) for text in _TABLE[code])
    faults.add(code=code, found=found, expected=expected, fix=fix, variable=variable, dimension=dimension, index=index)
