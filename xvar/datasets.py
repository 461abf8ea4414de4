"""Sample data."""

from __future__ import annotations

from importlib.resources import as_file, files

import xarray as xr

_BREST = "radar-meteonet-brest-20180103.nc"


def sample() -> xr.Dataset:
    """Rain over Brest in the storm of 3 January 2018: the rain case of Filoche et al. (2021) [1]_.

    Returns
    -------
    xarray.Dataset
        In memory: ``rain(time, y, x)``, shape (7, 128, 128), float32, the rain of 5 minutes in ``0.01 mm (5 min)-1``
        (0.12 times the value is mm h-1), and ``valid(y, x)``, shape (128, 128), int8. ``time`` has 7 frames, one each
        5 minutes; ``y`` (descending) and ``x`` are in metres, 1200 m apart. Each call gives a Dataset of its own.

    Notes
    -----
    Data of Météo-France, MeteoNet [2]_, under the Etalab Open Licence 2.0, cut and converted to NetCDF. The file lies
    inside the package; nothing is downloaded. Its README has the attribution that goes with copies.

    References
    ----------
    .. [1] Filoche, A., Béréziat, D., Brajard, J. and Charantonis, A. (2021). Variational assimilation of geophysical
       images leveraging deep learning tools. ORASIS 2021.
    .. [2] Larvor, G., Berthomier, L., Chabot, V., Le Pape, B., Pradel, B. and Perez, L. (2020). MeteoNet, an open
       reference weather dataset by Météo-France. https://meteonet.umr-cnrm.fr/

    Examples
    --------
    >>> import xvar.datasets
    >>> dict(xvar.datasets.sample().sizes)
    {'time': 7, 'y': 128, 'x': 128}
    """
    with as_file(files("xvar") / "data" / _BREST) as path, xr.open_dataset(path) as radar:
        return radar.load()
