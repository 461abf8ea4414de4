"""Rain from radar reflectivity, where it is asked for: nothing else in xvar converts one into the other."""

from __future__ import annotations

import xarray as xr

from xvar.cf.conventions import escaped
from xvar.cf.units import normalise_units
from xvar.errors import InputError, Problem


def rain_rate(reflectivity: xr.DataArray, *, a: float = 200.0, b: float = 1.6, hail: float = 53.0) -> xr.DataArray:
    r"""Rain rate from reflectivity by a Z-R relation.

    .. math:: Z = a R^b, \quad Z = 10^{\mathrm{dBZ} / 10}

    with Z in mm6 m-3 and R in mm h-1; the default is that of Marshall and Palmer [1]_ for widespread rain.

    Parameters
    ----------
    reflectivity : DataArray
        In dBZ, any shape. NaN stays NaN, minus infinity (nothing detected) is no rain.
    a, b : float
        Of the relation.
    hail : float
        Reflectivity in dBZ above which hail, and no more rain, is what grows it; higher values count as this one.

    Returns
    -------
    DataArray
        Rain rate in mm h-1, lazy where the input is, with the relation in its attributes.

    Raises
    ------
    InputError
        Where the units are not dBZ.

    References
    ----------
    .. [1] Marshall, J. S. and Palmer, W. M. (1948). The distribution of raindrops with size. Journal of Meteorology 5,
       165-166. doi:10.1175/1520-0469(1948)005<0165:TDORWS>2.0.CO;2
    """
    units = reflectivity.attrs.get("units")
    if units is None or normalise_units(str(units)) != "dBZ":
        raise InputError(
            Problem(
                found="no units attribute" if units is None else f"units {str(units)!r}",
                expected="a reflectivity in 'dBZ'",
                fix="attrs['units'] = 'dBZ' where that is what it is",
                variable=str(reflectivity.name),
            )
        )
    linear = 10 ** (reflectivity.clip(max=hail) / 10)
    rain = (linear / a) ** (1 / b)
    rain = rain.astype(reflectivity.dtype if reflectivity.dtype.kind == "f" else "float32")
    mapping = {key: value for key, value in reflectivity.attrs.items() if key == "grid_mapping"}
    rain.attrs = {
        "standard_name": "rainfall_rate",
        "long_name": "rain rate from radar reflectivity",
        "units": "mm h-1",
        "comment": f"from {escaped(reflectivity.name)} by Z = {a:g} R^{b:g}, reflectivity of at most {hail:g} dBZ",
        **mapping,
    }
    return rain.rename("rain_rate")
