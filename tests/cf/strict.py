"""The gate of every file that xvar writes: the strict CF-1.11 checker, offline."""

from __future__ import annotations

import pathlib
import subprocess
import sys


def strict_cf(path: pathlib.Path | str) -> tuple[int, str]:
    """Exit code of ``compliance-checker -t cf:1.11 -c strict`` and what it complains about."""
    checker = pathlib.Path(sys.executable).with_name("compliance-checker")
    run = subprocess.run(
        [str(checker), "-t", "cf:1.11", "-c", "strict", str(path)], capture_output=True, text=True, check=False
    )
    return run.returncode, run.stdout + run.stderr
