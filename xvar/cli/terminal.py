"""Lines on the terminal. Text of files is escaped: it may hold sequences that a terminal obeys."""

from __future__ import annotations

import sys

import typer

from xvar.errors import printable


def say(text: object) -> None:
    """Print a line on standard output."""
    typer.echo(printable(text, keep="\n"))


def complain(text: object) -> None:
    """Print a line on standard error."""
    typer.echo(f"xvar: {printable(text, keep=chr(10))}", err=True)


def note(text: object) -> None:
    """Print a line on standard error if it is a terminal."""
    if sys.stderr.isatty():
        typer.echo(printable(text, keep="\n"), err=True)
