"""Images compared along the paths of parcels: the misfit of the methods for motion, with its adjoint by hand.

`along` finds the problems that have this form, `comparisons` holds what they need, and `kernel` evaluates it, compiled
by numba. Without numba, on other devices, and for everything but the minimisation of J, autograd differentiates the
models themselves (`xvar.core.models.parcels`), which give the same to rounding.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

#: Environment variable: 0 leaves J_o to autograd even where numba is installed.
SWITCH = "XVAR_FAST"


def is_compiled() -> bool:
    """Return True if compiled code evaluates J_o of images on the CPU."""
    return os.environ.get(SWITCH) != "0" and find_spec("numba") is not None
