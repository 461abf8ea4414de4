"""What is installed: for a report of a fault."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
from typing import TextIO

#: Libraries below the ones that xvar asks for, where many faults of files and grids come from.
BELOW = ("h5netcdf", "h5py", "numcodecs", "pandas", "pint-xarray", "scipy", "xradar")


def show_versions(file: TextIO | None = None) -> None:
    """Print the versions of Python, xvar and what it may use, one a line; nothing heavy is imported.

    Parameters
    ----------
    file : file, optional
        Where to; standard output by default.

    Examples
    --------
    >>> import xvar
    >>> xvar.show_versions()  # doctest: +ELLIPSIS
    python: ...
    """
    asked = importlib.metadata.requires("xvar") or []
    tools = ("dev", "docs", "lint", "test")
    kept = (text for text in asked if not any(f'extra == "{name}"' in text.replace("'", '"') for name in tools))
    names = sorted({re.split(r"[\s\[<>=!~;(]", text, maxsplit=1)[0] for text in kept} | set(BELOW))
    lines = [f"python: {platform.python_version()}", f"system: {platform.platform()}", f"xvar: {_version('xvar')}"]
    lines += [f"{name}: {_version(name)}" for name in names if name != "xvar"]
    (file or sys.stdout).write("\n".join(lines) + "\n")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
