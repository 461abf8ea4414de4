"""Exports from a shell: the command ``export``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from xvar.cli.configuration import configurable
from xvar.cli.parameters import Overwrite, Part, Trusted, stated
from xvar.cli.terminal import finish, opened
from xvar.io.writing import check_target, durable

#: Suffixes of files -> the formats.
FORMATS = {".geojson": "GeoJSON", ".json": "GeoJSON", ".csv": "CSV", ".tif": "GeoTIFF", ".tiff": "GeoTIFF"}


@configurable
def export(
    source: Annotated[str, typer.Argument(metavar="FILE", help="An analysis, a forecast or a nowcast.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="What to write: .geojson, .csv or .tif.")
    ],
    of: Annotated[str | None, typer.Option(help="motion, or forecast, the default if the file has one.")] = None,
    every: Annotated[int | None, typer.Option(help="Points from one arrow or row to the next.", min=1)] = None,
    reach: Annotated[str | None, typer.Option(help="Time that an arrow shows, such as 15min.")] = None,
    above: Annotated[
        list[float] | None, typer.Option(help="Threshold of areas, in mm h-1 for rain; may be given several times.")
    ] = None,
    part: Part = None,
    window: Annotated[int, typer.Option(help="Which window; -1 is the last.")] = -1,
    trusted: Trusted = False,
    overwrite: Overwrite = False,
) -> None:
    """Write motion as arrows or a forecast as areas in GeoJSON, either as a table in CSV, or as a map in GeoTIFF."""
    from xvar.analysis.to_geojson import to_geojson
    from xvar.analysis.to_geotiff import to_geotiff
    from xvar.analysis.to_table import to_table

    check_target(output, overwrite=overwrite, suffixes=tuple(FORMATS), usual=", ".join(FORMATS))
    kind, common = FORMATS[output.suffix.lower()], {"window": window, **stated(of=of, part=part)}
    with opened([source], trusted=trusted) as data:
        if kind == "GeoTIFF":
            to_geotiff(data, output, overwrite=overwrite, **common)
            finish(output, kind)
            return
        if kind == "CSV":
            table = to_table(data, **common, **stated(every=every))
            count, text = f"{len(table)} rows", table.to_csv(index=False)
        else:
            shown = stated(every=every, reach=reach, above=tuple(above or ()))
            found = to_geojson(data, **common, **shown)
            count, text = f"{len(found['features'])} features", json.dumps(found)
    with durable(output) as file:
        file.write(text.encode())
    finish(output, f"{kind}, {count}")
