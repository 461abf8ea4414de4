"""Options of a command from a file of TOML or an earlier output, and as such a file."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from xvar.cli.parameters import with_parameters
from xvar.cli.terminal import opened
from xvar.errors import Fault, InputError, refuse_unknown

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
    return with_parameters(command, function, added)
