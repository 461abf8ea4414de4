"""Versions of installed packages, for reports of bugs."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
from typing import TextIO

#: Indirect dependencies that many faults of files and grids come from.
INDIRECT = ("h5netcdf", "h5py", "numcodecs", "pandas", "pint-xarray", "scipy", "xradar")


def show_versions(file: TextIO | None = None) -> None:
    """Print the versions of Python, xvar and its dependencies, one a line, without importing them.

    Parameters
    ----------
    file : file, optional
        File to write to; standard output by default.

    Examples
    --------
    >>> import xvar
    >>> xvar.show_versions()  # doctest: +ELLIPSIS
    python: ...
    """
    required = importlib.metadata.requires("xvar") or []
    tools = ("dev", "docs", "lint", "test")
    kept = (text for text in required if not any(f'extra == "{name}"' in text.replace("'", '"') for name in tools))
    names = sorted({re.split(r"[\s\[<>=!~;(]", text, maxsplit=1)[0] for text in kept} | set(INDIRECT))
    lines = [f"python: {platform.python_version()}", f"system: {platform.platform()}", f"xvar: {_version('xvar')}"]
    lines += [f"{name}: {_version(name)}" for name in names if name != "xvar"]
    (file or sys.stdout).write("\n".join(lines) + "\n")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
