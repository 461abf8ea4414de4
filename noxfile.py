"""The matrix: every Python, the lowest and the latest libraries. ``nox -l`` lists the sessions."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nox

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]

nox.options.sessions = ["tests"]
nox.options.error_on_missing_interpreters = False


def lowest() -> list[str]:
    """The lower ends of the ranges in pyproject.toml, for the bare install and the extras that the tests use."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["plot"], *extras["zarr"], *extras["distributed"]]
    return [re.sub(r">=\s*([\w.]+)[^;]*", r"==\1.*", text) for text in asked]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The suite on the latest libraries."""
    session.install("-e", ".[test]")
    session.run("pytest", "-n", "auto", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session(python="3.11")
def oldest(session: nox.Session) -> None:
    """The suite on the oldest libraries that pyproject.toml allows; their own warnings are no errors of ours."""
    session.install("-e", ".[test]", *lowest())
    session.run("pytest", "-n", "auto", "-W", "default", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session(python="3.11")
def docs(session: nox.Session) -> None:
    """The pages, warnings being errors."""
    session.install("-e", ".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "docs", "docs/_build")
