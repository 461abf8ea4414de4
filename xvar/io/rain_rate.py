"""Convert reflectivity or a flux of mass into a rain rate; nothing else in xvar does."""

from __future__ import annotations

from typing import Literal

import xarray as xr

from xvar.cf.units import are_convertible, normalise_units, rain_rate_factor, without_quantities
from xvar.errors import Fault, InputError, printable


def rain_rate(
    field: xr.DataArray,
    *,
    a: float = 200.0,
    b: float = 1.6,
    hail: float = 53.0,
    convert: Literal["liquid_water"] | None = None,
) -> xr.DataArray:
    r"""Rain rate from reflectivity by a Z-R relation, or from a flux of mass by the density of water.

    .. math:: Z = a R^b, \quad Z = 10^{\mathrm{dBZ} / 10}

    with Z in mm6 m-3 and R in mm h-1; the default is that of Marshall and Palmer [1]_ for widespread rain. A flux in
    kg m-2 s-1 is a rate if a kilogram is a litre: 1 kg m-2 s-1 is 3600 mm h-1.

    Parameters
    ----------
    field : DataArray
        Reflectivity in dBZ, or a flux of mass, any shape. NaN stays NaN, minus infinity (nothing detected) is no rain.
    a, b : float
        Coefficients of the relation.
    hail : float
        Reflectivity in dBZ above which it grows by hail, not by rain; higher values are taken as this one.
    convert : "liquid_water", optional
        The flux is one of liquid water, of 1000 kg m-3, not of snow or hail.

    Returns
    -------
    DataArray
        Rain rate in mm h-1, lazy if the input is, with the relation in its attributes.

    Raises
    ------
    InputError
        If the units are neither; if they are those of a flux and `convert` is not stated.

    References
    ----------
    .. [1] Marshall, J. S. and Palmer, W. M. (1948). The distribution of raindrops with size. Journal of Meteorology 5,
       165-166. doi:10.1175/1520-0469(1948)005<0165:TDORWS>2.0.CO;2

    Examples
    --------
    >>> import xarray as xr, xvar
    >>> float(xvar.rain_rate(xr.DataArray(23.0, attrs={"units": "dBZ"})).round(2))
    1.0
    >>> flux = xr.DataArray(0.001, attrs={"units": "kg m-2 s-1"})
    >>> float(xvar.rain_rate(flux, convert="liquid_water"))
    3.6
    """
    plain = without_quantities(field.to_dataset(name="field"))["field"]
    given = plain.attrs.get("units")
    units = None if given is None else normalise_units(str(given))
    name = None if field.name is None else str(field.name)
    if units == "dBZ" and convert is None:
        linear = 10 ** (plain.clip(max=hail) / 10)
        rain = (linear / a) ** (1 / b)
        comment = f"by Z = {a:g} R^{b:g}, reflectivity of at most {hail:g} dBZ"
        source = "radar reflectivity"
    elif units is not None and are_convertible(units, "kg m-2 s-1") and convert == "liquid_water":
        factor = rain_rate_factor(units, None)
        assert factor is not None
        rain = plain * factor
        comment = "as liquid water of 1000 kg m-3"
        source = "a flux of mass"
    else:
        raise InputError(_refusal(name, given, units, convert))
    rain = rain.astype(plain.dtype if plain.dtype.kind == "f" else "float32")
    mapping = {key: value for key, value in plain.attrs.items() if key == "grid_mapping"}
    rain.attrs = {
        "standard_name": "rainfall_rate",
        "long_name": f"rain rate from {source}",
        "units": "mm h-1",
        "comment": f"from {printable(name)} {comment}",
        **mapping,
    }
    return rain.rename("rain_rate")


def _refusal(name: str | None, given: object, units: str | None, convert: object) -> Fault:
    """Return the fault of a field that cannot be converted."""
    expected, fix = "a reflectivity in 'dBZ', or a flux in 'kg m-2 s-1'", "write its attrs['units']"
    if units is not None and are_convertible(units, "kg m-2 s-1"):
        expected, fix = "what the mass is of", "convert='liquid_water' takes a litre for a kilogram"
    elif units is not None and rain_rate_factor(units, 1.0) is not None:
        fix = "it is rain already: assimilate it as it is"
    elif convert is not None and units == "dBZ":
        expected, fix = "convert= of a flux of mass alone", "leave it out: a and b state the Z-R relation"
    found = "no units attribute" if given is None else f"units {str(given)!r}"
    found = found if convert is None else f"{found} with convert={convert!r}"
    return Fault(found, expected, fix, variable=name, code="units-not-convertible")
