"""Times that are stated by the names of files alone."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

from xvar.errors import InputError

#: Patterns of names, in this order, with the format of what they match; the groups of a match are joined.
PATTERNS = (
    (r"_s(\d{13})\d", "%Y%j%H%M%S"),  # GOES: ..._s20191620000123_e...
    (r"(?<!\d)(\d{8})[-_T]?(\d{6})(?!\d)", "%Y%m%d%H%M%S"),  # ODIM, MRMS, Rainfields, NWC SAF, GHRSST
    (r"(?<!\d)(\d{8})[-_T]?(\d{4})(?!\d)", "%Y%m%d%H%M"),  # FMI, KNMI
    (r"-(\d{10})-", "%y%m%d%H%M"),  # RADOLAN: raa01-ry_10000-2106010005-dwd---bin
    (r"^[A-Z]{3}(\d{9})(?!\d)", "%y%j%H%M"),  # MeteoSwiss: AQC151351545F_00005.801.gif
    (r"(?<!\d)((?:19|20)\d{6})(?!\d)", "%Y%m%d"),
)
_DIGITS = {"Y": 4, "m": 2, "d": 2, "j": 3, "H": 2, "M": 2, "S": 2, "y": 2}


def time_from_name(path: Path, stated: str | None = None) -> datetime | None:
    """Return the time in the name of a file, by a format of `datetime.strptime` or one of `PATTERNS`; None without one.

    InputError if the name does not have the stated format.
    """
    if stated is None:
        for pattern, form in PATTERNS:
            match = re.search(pattern, path.name)
            if match is not None:
                try:
                    return datetime.strptime("".join(match.groups()), form)
                except ValueError:
                    continue
        return None
    pattern = re.sub(
        r"%(.)", lambda part: rf"\d{{{_DIGITS[part[1]]}}}" if part[1] in _DIGITS else r".+?", re.escape(stated)
    )
    for found in re.finditer(rf"(?=({pattern}))", path.name):
        try:
            return datetime.strptime(found[1], stated)
        except ValueError:
            continue
    raise InputError(
        code="no-time-in-name",
        found=f"{path.name}, with no part of the form {stated!r}",
        expected="a format of datetime.strptime that the name contains",
        fix="time_from_name='%Y%m%d%H%M'",
    )
