"""Docstrings of public names describe parameters, returns and errors."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import xvar

MODULES = (
    "xvar",
    "xvar.check",
    "xvar.covariance",
    "xvar.datasets",
    "xvar.dynamics",
    "xvar.analysis.to_pysteps",
    "xvar.minimize",
    "xvar.observation",
    "xvar.plot",
    "xvar.runs",
    "xvar.analysis.verify",
)
# Functions of the accessors whose modules hold other names, too.
FUNCTIONS = (
    "xvar.assimilation.assimilate",
    "xvar.analysis.forecast.forecast",
    "xvar.analysis.series.series",
    "xvar.io.reading.open_files",
    "xvar.io.writing.write",
    "xvar.analysis.summary.summary",
)


def public() -> Iterator[tuple[str, Any]]:
    """Return public functions and classes, once each."""
    seen = set()
    names = [
        f"{module}.{key}"
        for module in MODULES
        for key in getattr(importlib.import_module(module), "__all__", None) or _own(module)
    ]
    for name in (*names, *FUNCTIONS):
        module, _, key = name.rpartition(".")
        value = getattr(importlib.import_module(module), key)
        if callable(value) and getattr(value, "__module__", "").startswith("xvar") and id(value) not in seen:
            seen.add(id(value))
            yield name, value


def _own(name: str) -> list[str]:
    """Return the names that a module without __all__ defines."""
    found = vars(importlib.import_module(name)).items()
    return [key for key, value in found if not key.startswith("_") and getattr(value, "__module__", "") == name]


def section(docstring: str, title: str) -> str:
    """Return the text of a section of numpydoc, without its heading."""
    found = re.search(rf"^{title}\n-+\n(.*?)(?=^\w[\w ]*\n-+\n|\Z)", docstring, re.DOTALL | re.MULTILINE)
    return found.group(1) if found else ""


def named(text: str) -> set[str]:
    """Return the names that a section of parameters or attributes describes."""
    heads = re.findall(r"^(\*{0,2}\w[\w, *]*?)(?: ?:.*)?$", text, re.MULTILINE)
    return {name.strip(" *") for head in heads for name in head.split(",")}


def options(value: Any) -> set[str]:
    return {name for name in inspect.signature(value).parameters if name not in ("self", "args", "kwargs")}


def shortcomings(value: Any) -> list[str]:
    docstring = inspect.getdoc(value) or ""
    if not docstring:
        return ["no docstring"]
    if inspect.isclass(value) and (issubclass(value, (Exception, Warning)) or getattr(value, "_is_protocol", False)):
        return []
    if value.__name__.endswith("Accessor"):  # made by xarray; its methods are looked at below
        return []
    faults = []
    described = named(section(docstring, "Parameters")) | named(section(docstring, "Attributes"))
    missing = options(value) - described
    if missing:
        faults.append(f"not described: {', '.join(sorted(missing))}")
    if not inspect.isclass(value) or dataclasses.is_dataclass(value):
        known = options(value) | set(getattr(value, "__dataclass_fields__", ())) | set(dir(value))
        gone = named(section(docstring, "Parameters")) - known - {""}
        if gone:
            faults.append(f"described, but not there: {', '.join(sorted(gone))}")
    if inspect.isfunction(value):
        if inspect.signature(value).return_annotation not in ("None", None) and not section(docstring, "Returns"):
            faults.append("no Returns")
        if "raise InputError" in inspect.getsource(value) and not section(docstring, "Raises"):
            faults.append("no Raises")
    return faults


@pytest.mark.parametrize(("name", "value"), [pytest.param(name, value, id=name) for name, value in public()])
def test_a_public_name_describes_parameters_returns_and_errors(name: str, value: Any) -> None:
    assert shortcomings(value) == []


def accessor_methods() -> list[tuple[str, Callable[..., Any]]]:
    return [
        (name, method)
        for name, method in inspect.getmembers(xvar.DatasetAccessor, inspect.isfunction)
        if not name.startswith("_")
    ]


@pytest.mark.parametrize(("name", "method"), accessor_methods())
def test_a_method_of_the_accessor_refers_to_its_function(name: str, method: Callable[..., Any]) -> None:
    reference = re.search(r"`(xvar\.[\w.]+)`", inspect.getdoc(method) or "")
    assert reference, f"{name} names no function"
    module, _, attribute = reference.group(1).rpartition(".")
    assert callable(getattr(importlib.import_module(module), attribute))


def test_an_incomplete_docstring_is_found() -> None:
    def poor(data: int, scale: float) -> int:
        """Do it.

        Parameters
        ----------
        data : int
            What it is.
        other : float
            Gone.
        """
        return data

    assert shortcomings(poor) == [
        "not described: scale",
        "described, but not there: other",
        "no Returns",
    ]
