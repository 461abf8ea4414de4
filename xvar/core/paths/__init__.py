"""Images compared along the paths of parcels: the misfit of the methods for motion, with its adjoint by hand.

`along` finds the problems that have this form, `comparisons` holds what they need, and `kernel` evaluates it, compiled
by numba. Without numba, on other devices, and for everything but the minimisation of J, autograd differentiates the
models themselves (`xvar.core.models.parcels`), which give the same to rounding.
"""

from __future__ import annotations

import os
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec

from xvar.errors import AnalysisWarning, warn

#: Environment variable: 0 leaves J_o to autograd even where numba is installed.
SWITCH = "XVAR_FAST"


def is_compiled() -> bool:
    """Return True if compiled code evaluates J_o of images on the CPU."""
    return os.environ.get(SWITCH) != "0" and _has_numba()


@lru_cache(maxsize=1)
def _has_numba() -> bool:
    if find_spec("numba") is None:
        return False
    try:
        import_module("numba")
    except ImportError as error:  # such as by a version of numpy that it does not know
        text = f"numba is installed and cannot be imported ({error}); autograd does its work, at about half the speed"
        warn(f"{text}; fix: pip install --upgrade 'xvar[fast]', or {SWITCH}=0", AnalysisWarning)
        return False
    return True
