"""Parameters of commands: shared ones, those made from the table of options, and their values from a file of TOML."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from xvar.cli.terminal import opened
from xvar.errors import Fault, InputError, refuse_unknown
from xvar.plan.option import Option
from xvar.plan.options import OPTIONS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ATTRIBUTE = "xvar_options"  # of an output: the options of its command, as such a file
OUTPUTS = (".nc", ".nc4", ".zarr")
_NOT_OPTIONS = frozenset({"config", "show_config", "output", "overwrite", "inputs", "help", "trusted"})
#: Bytes of a file of options.
LARGEST = 1_000_000


def load(context: typer.Context, path: Path | None) -> Path | None:
    """Read defaults of the command from a file or an earlier output; the command line overrides them.

    InputError if the file cannot be read or names an option that the command does not have.
    """
    if path is None:
        return None
    table = _tables(path).get(str(context.info_name), {})
    if not isinstance(table, dict):
        raise _unusable(path, f"{context.info_name} = {str(table)[:200]}, which is no table")
    known = _options(context)
    given = {name.replace("-", "_"): value for name, value in table.items()}
    refuse_unknown(sorted(given), known, f"xvar {context.info_name}, in {path}")
    context.default_map = {
        name: value if isinstance(value, (bool, list)) else str(value) for name, value in given.items()
    }
    return path


def _tables(path: Path) -> Mapping[str, Any]:
    """Read a file of TOML, or the options that an output holds."""
    try:
        if path.suffix in OUTPUTS:
            with opened([str(path)], trusted=False) as written:
                text = str(written.attrs.get(ATTRIBUTE, ""))
            if not text:
                raise _unusable(path, f"no attribute {ATTRIBUTE}")
        else:
            with path.open("rb") as file:
                content = file.read(LARGEST + 1)
            if len(content) > LARGEST:
                raise _unusable(path, f"more than {LARGEST} bytes")
            text = content.decode()
        return tomllib.loads(text)
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:  # numbers of 5000 digits are no TOMLDecodeError
        raise _unusable(path, str(error)[:200]) from error


def _unusable(path: Path, found: str) -> InputError:
    fix = "xvar assimilate FILE -o OUT --show-config prints one"
    expected = "a file of TOML, or what xvar assimilate wrote"
    return InputError(Fault(f"{path}: {found}", expected, fix, code="unusable-options-file"))


def _options(context: typer.Context) -> list[str]:
    """Return names in the order of the command's help."""
    options = (parameter for parameter in context.command.params if parameter.param_type_name == "option")
    return [str(option.name) for option in options if option.name not in _NOT_OPTIONS]


def as_toml(context: typer.Context) -> str:
    """Return the options that were stated as a file of TOML; a comment names the others."""
    import tomli_w

    given, left = {}, []
    for name in _options(context):
        if getattr(context.get_parameter_source(name), "name", "DEFAULT") == "DEFAULT":
            left.append(name)
        else:
            value = context.params[name]
            given[name] = list(value) if isinstance(value, tuple) else value
    return f"# by default: {', '.join(left)}\n" + tomli_w.dumps({str(context.info_name): given})


Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE... [VARIABLE]",
        help="A file, several, a pattern such as 'radar_*.nc', a URL, or - for NetCDF from a pipe; "
        "then the variable, if there are several.",
    ),
]
Analysis = Annotated[str, typer.Argument(metavar="ANALYSIS", help="What `xvar assimilate` wrote.")]
Truth = Annotated[
    list[str] | None, typer.Argument(metavar="[TRUTH]...", help="The observed record, a file or several.")
]
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="OUT", help="What to write, .nc or .zarr; - for NetCDF into a pipe.")
]
Part = Annotated[
    str | None, typer.Option("--part", help="Of the motion: steady, the default, or total, with the transient part.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Group = Annotated[str | None, typer.Option(help="Group of the file that holds the record.")]
Site = Annotated[str | None, typer.Option(help="Of volumes of several radars the one that is read, such as deboo.")]
TimeFromName = Annotated[
    str | None, typer.Option("--time-from-name", help="Form of the time in the names of files, such as %Y%m%d%H%M.")
]
ClipNegative = Annotated[bool, typer.Option("--clip-negative", help="Set negative rain to zero.")]
Trusted = Annotated[
    bool, typer.Option("--trusted", help="Open files without the checks for files from unknown sources.")
]
_Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        is_eager=True,
        callback=load,
        help="Options from a file of TOML, or those of an earlier output.",
    ),
]
_ShowConfig = Annotated[
    bool, typer.Option("--show-config", help="Print the options as such a file, and do nothing else.")
]
#: Options of the table that say how a record is read.
READING = ("units", "dx", "dy")
#: All options of the table that have a flag.
FLAGS = tuple(name for name, option in OPTIONS.items() if option.flag)


def configurable(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--config`` and ``--show-config``, and its context if it has a parameter for that."""
    wanted = {"context"} & set(inspect.signature(function).parameters)

    @functools.wraps(function)
    def command(context: typer.Context, config: Path | None, show_config: bool, **given: Any) -> None:  # noqa: ARG001
        if show_config:
            typer.echo(as_toml(context), nl=False)
        else:
            function(**dict.fromkeys(wanted, context), **given)

    empty = inspect.Parameter.empty
    added = {"context": (typer.Context, empty), "config": (_Config, None), "show_config": (_ShowConfig, False)}
    return _with_parameters(command, function, added)


def options_of_table(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags of some options; it is called with those that were stated, as Python takes them."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def command(*arguments: Any, **given: Any) -> None:
            stated = {name: value(OPTIONS[name], given.pop(name)) for name in names}
            function(*arguments, **given, **{name: found for name, found in stated.items() if found is not None})

        return _with_parameters(command, function, {name: _annotation(OPTIONS[name]) for name in names}, first=True)

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


def _with_parameters(
    command: Callable[..., None],
    function: Callable[..., None],
    added: dict[str, tuple[Any, Any]],
    *,
    first: bool = False,
) -> Callable[..., None]:
    """Return a command with the parameters of a function, and others: typer makes flags of its signature."""
    hints = get_type_hints(function, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [
        parameter.replace(annotation=hints[name], kind=keyword)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD and name not in added
    ]
    more = [inspect.Parameter(name, keyword, annotation=hint, default=usual) for name, (hint, usual) in added.items()]
    required = [one for one in own if one.default is one.empty]
    parameters = [*required, *more, *own[len(required) :]] if first else [*own, *more]
    command.__signature__ = inspect.Signature(parameters, return_annotation=None)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command
