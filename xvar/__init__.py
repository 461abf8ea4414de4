"""4D-Var for everyone who already has an xarray Dataset.

``import xvar`` registers the accessor ``.var4d`` on Datasets and DataArrays; everything that needs torch is loaded when
it is first used.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import Any

from xvar.accessor import DataArrayAccessor, DatasetAccessor
from xvar.errors import AnalysisWarning, InputError, InputWarning

__version__ = version("xvar")

# Public names, imported at first use: a module, or an attribute of one.
_LAZY = {
    "Ensemble": "xvar.core.ensemble:Ensemble",
    "analysis": "xvar.analysis",
    "assimilate": "xvar.assimilation:assimilate",
    "background": "xvar.background",
    "check": "xvar.check",
    "control": "xvar.control",
    "covariance": "xvar.covariance",
    "datasets": "xvar.datasets",
    "dynamics": "xvar.dynamics",
    "follow": "xvar.service.follow:follow",
    "io": "xvar.io",
    "learn": "xvar.learning:learn",
    "learning": "xvar.learning",
    "minimize": "xvar.minimize",
    "nowcast": "xvar.service.nowcast:nowcast",
    "observation": "xvar.observation",
    "open": "xvar.io.opening:open",
    "open_odim": "xvar.io.odim:open_odim",
    "open_untrusted": "xvar.io.reading:open_untrusted",
    "penalty": "xvar.penalty",
    "plot": "xvar.plot",
    "pysteps_motion": "xvar.analysis.to_pysteps:pysteps_motion",
    "rain_rate": "xvar.io.rain_rate:rain_rate",
    "run": "xvar.runs:run",
    "runs": "xvar.runs",
    "show_versions": "xvar.check.versions:show_versions",
}


__all__ = [
    "AnalysisWarning",
    "DataArrayAccessor",
    "DatasetAccessor",
    "InputError",
    "InputWarning",
    "__version__",
    *_LAZY,
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        module, _, attribute = _LAZY[name].partition(":")
        found = importlib.import_module(module)
        return getattr(found, attribute) if attribute else found
    message = f"module 'xvar' has no attribute {name!r}"
    raise AttributeError(message)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
