"""Records as they are read, from a shell: the commands ``info`` and ``check``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from xvar.cli.configuration import configurable
from xvar.cli.parameters import FLAGS, READING, AsJson, Inputs, files_as_reading, options_of_table
from xvar.cli.terminal import UNUSABLE, in_shell, opened_record, say


@options_of_table(*READING)
@files_as_reading()
def info(
    inputs: Inputs,
    as_json: AsJson = False,
    *,
    reading: Mapping[str, Any],
    **options: Any,
) -> None:
    """Print how a file is read: variable, axes, spacing, units, times, gaps; of an analysis its summary."""
    from xvar.analysis.summary import summary
    from xvar.check import describe
    from xvar.cli.tables import print_facts
    from xvar.plan.configuration import ATTRIBUTE as CONFIGURATION

    with opened_record(inputs, **reading) as (record, variable):
        is_analysis = CONFIGURATION in record.attrs and "status" in record
        facts = {"analysis": summary(record).splitlines()} if is_analysis else describe(record, variable, **options)
        print_facts(facts, as_json=as_json)


@configurable
@options_of_table(*FLAGS)
@files_as_reading()
def check(
    context: typer.Context,
    inputs: Inputs,
    as_json: AsJson = False,
    *,
    reading: Mapping[str, Any],
    **options: Any,
) -> None:
    """Print how a file is read, and whether a known motion of its images is found again."""
    from xvar.check import record as examine

    with opened_record(inputs, **reading) as (data, variable):
        examination = examine(data, variable, **options)
    say(examination.to_json() if as_json else in_shell(str(examination), context.command))
    if not examination.passed:
        raise typer.Exit(UNUSABLE if examination.faults else 1)
