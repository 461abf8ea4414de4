"""Parameters of commands: shared ones, those of opening files, and those made from the table of options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from xvar.plan.option import Option
from xvar.plan.options import OPTIONS

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE... [VARIABLE]",
        help="A file, several, a pattern such as 'radar_*.nc', a URL, or - for NetCDF from a pipe; "
        "then the variable, if there are several.",
    ),
]
Analysis = Annotated[str, typer.Argument(metavar="ANALYSIS", help="What `xvar assimilate` wrote.")]
Truth = Annotated[list[str] | None, typer.Argument(metavar="TRUTH", help="The observed record, a file or several.")]
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="OUT", help="What to write, .nc or .zarr; - for NetCDF into a pipe.")
]
Part = Annotated[
    str | None, typer.Option("--part", help="Of the motion: steady, the default, or total, with the transient part.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Trusted = Annotated[
    bool, typer.Option("--trusted", help="Open files without the checks for files from unknown sources.")
]
#: Options of `xvar.open`.
_FILES: dict[str, tuple[Any, Any]] = {
    "site": (
        Annotated[str | None, typer.Option(help="Of volumes of several radars the one that is read, such as deboo.")],
        None,
    ),
    "group": (Annotated[str | None, typer.Option(help="Group of the file that holds the record.")], None),
    "time_from_name": (
        Annotated[str | None, typer.Option(help="Form of the time in the names of files, such as %Y%m%d%H%M.")],
        None,
    ),
    "clip_negative": (Annotated[bool, typer.Option("--clip-negative", help="Set negative rain to zero.")], False),
    "trusted": (Trusted, False),
}
#: Options of the table that say how a record is read.
READING = ("units", "dx", "dy")
#: All options of the table that have a flag.
FLAGS = tuple(name for name, option in OPTIONS.items() if option.flag)


def options_of_table(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags of some options; it is called with those that were stated, as Python takes them."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def command(*arguments: Any, **given: Any) -> None:
            stated = {name: value(OPTIONS[name], given.pop(name)) for name in names}
            function(*arguments, **given, **{name: found for name, found in stated.items() if found is not None})

        return with_parameters(command, function, {name: _annotation(OPTIONS[name]) for name in names}, first=True)

    return decorate


def files_as_reading(*without: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags of `xvar.open`, without some; it is called with their values as `reading`."""
    flags = {name: flag for name, flag in _FILES.items() if name not in without}

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def command(**given: Any) -> None:
            reading = {name: given.pop(name) for name in flags}
            function(**given, reading=reading)

        return with_parameters(command, function, flags, instead_of="reading")

    return decorate


def stated(**options: Any) -> dict[str, Any]:
    """Return the options that were stated: the functions have the defaults of others."""
    return {name: given for name, given in options.items() if given not in (None, ())}


def value(option: Option, given: Any) -> Any:
    """Return the value of an option from the words of the shell; None if there are none."""
    if given in (None, False, []):
        return None
    if option.name == "quality" and any(rule.startswith("-") for rule in given):
        return {rule.lstrip("-"): not rule.startswith("-") for rule in given}
    if isinstance(given, list):
        return tuple(given)
    if option.type.startswith("int") and given.strip().lstrip("+-").isdigit():
        return int(given)
    return given


def _annotation(option: Option) -> tuple[Any, Any]:
    """Return the annotation and the default of the flag of an option."""
    about = typer.Option(f"--{option.name.replace('_', '-')}", help=option.flag)
    kinds = {"bool": bool, "float": float | None, "sequence": list[str] | None}
    kind: Any = kinds.get(option.type.partition(" ")[0].strip(","), str | None)
    return Annotated[kind, about], False if kind is bool else None


def with_parameters(
    command: Callable[..., None],
    function: Callable[..., None],
    added: dict[str, tuple[Any, Any]],
    *,
    first: bool = False,
    instead_of: str | None = None,
) -> Callable[..., None]:
    """Return a command with the parameters of a function, and others: typer makes flags of its signature."""
    hints = get_type_hints(function, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [
        parameter.replace(annotation=hints[name], kind=keyword)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD and name not in {*added, instead_of}
    ]
    more = [inspect.Parameter(name, keyword, annotation=hint, default=usual) for name, (hint, usual) in added.items()]
    required = [one for one in own if one.default is one.empty]
    parameters = [*required, *more, *own[len(required) :]] if first else [*own, *more]
    command.__signature__ = inspect.Signature(parameters, return_annotation=None)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command
