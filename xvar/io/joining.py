"""Join the images of several files into one record: one grid, one quantity, each time once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xvar.cf.axes import is_date
from xvar.errors import Fault, InputError, InputWarning, warn

Image = tuple[Path, xr.Dataset]


def time_dimension(dataset: xr.Dataset) -> Hashable | None:
    """Return the dimension of time, None without one."""
    found = (dim for dim in dataset.dims if dim in dataset.coords and is_date(dataset[dim]))
    return next(found, None)


def most_frequent(images: Sequence[Image], quantity: str | None) -> list[Image]:
    """Return the images of one quantity, product and grid: that which most files have; the others are counted.

    InputError if two have equally many files, or no file has the quantity that is asked for.
    """
    kinds: dict[Any, list[Image]] = {}
    for path, image in images:
        kinds.setdefault((_quantities(image), _product(image), _grid(image)), []).append((path, image))
    wanted = {key: found for key, found in kinds.items() if quantity is None or quantity in key[0]}
    ranked = sorted(wanted.values(), key=len, reverse=True)
    words = [_describe(found) for found in (ranked or kinds.values())]
    if not ranked or (len(ranked) > 1 and len(ranked[0]) == len(ranked[1])):
        what = "several products" if ranked else f"no {quantity!r}"
        other = next((name for name in _quantities(images[-1][1]) if name != quantity), "...")
        fix = f"a pattern that only one has, or its quantity, xvar.open(files, {other!r})"
        raise InputError(Fault(f"{what}: {'; '.join(words[:5])}", "files of one product", fix, code="mixed-products"))
    if len(ranked[0]) < len(images):
        rest = [_describe(found) for found in kinds.values() if found is not ranked[0]]
        warn(f"{words[0]}; other products are left out: {'; '.join(rest[:5])}", InputWarning)
    return ranked[0]


def join(images: Sequence[Image]) -> xr.Dataset:
    """Return one record of images, sorted by time.

    InputError if files are of other grids or quantities than the first; if two have other values at the same time.
    """
    first_path, first = images[0]
    dim = time_dimension(first)
    for path, image in images[1:]:
        if _grid(image) != _grid(first):
            raise _another(path, "grid", f"the radar, range and map of {first_path}", "run them apart")
        if _quantities(image) != _quantities(first):
            expected = f"{', '.join(_quantities(first))} in all files"
            raise _another(path, "quantity", expected, 'quantity="..."')
    if len(images) == 1 or dim is None:
        return first
    moving = [name for name, part in first.data_vars.items() if dim in part.dims]
    parts = [image[moving].reset_coords(drop=True) for _, image in images]
    record = xr.concat(parts, dim, join="override", combine_attrs="override", coords="minimal", compat="override")
    still = first.drop_vars([*moving, dim])
    record = record.assign_coords(dict(still.coords)).assign(dict(still.data_vars)).assign_attrs(first.attrs)
    sources = [path for path, image in images for _ in range(image.sizes[dim])]
    return _each_time_once(record, dim, sources)


def refuse_duplicates(files: Sequence[xr.Dataset]) -> None:
    """Raise InputError if two files of xarray's engines have the same time: of two values one would be lost."""
    seen: dict[Any, Path] = {}
    for number, file in enumerate(files):
        dim = time_dimension(file)
        path = Path(str(file.encoding.get("source", f"file {number}")))
        for moment in () if dim is None else file[dim].values:
            if seen.setdefault(moment, path) is not path:
                raise _duplicate(moment, seen[moment], path)


def _each_time_once(record: xr.Dataset, dim: Hashable, sources: Sequence[Path]) -> xr.Dataset:
    """Return a record sorted by time without the frames that are twice in it with the same values."""
    order = np.argsort(record[dim].values, kind="stable")
    times = record[dim].values[order]
    keep, left = [int(order[0])], 0
    for place in range(1, len(order)):
        here, before = int(order[place]), keep[-1]
        if times[place] != times[place - 1]:
            keep.append(here)
            continue
        one, other = (record.isel({dim: index}, drop=True) for index in (before, here))
        moving = [name for name, part in record.data_vars.items() if dim in part.dims]
        if not all(np.array_equal(one[name].values, other[name].values, equal_nan=True) for name in moving):
            raise _duplicate(times[place], sources[before], sources[here])
        left += 1
    if left:
        warn(f"{left} frames are in two files with the same values: each is read once", InputWarning)
    return record.isel({dim: keep})


def _duplicate(moment: Any, one: Path, other: Path) -> InputError:
    found = f"two frames at {str(moment)[:19]}: in {one} and in {other}"
    fix = "leave one file out, or a narrower pattern"
    return InputError(Fault(found, "each time in one file", fix, dimension="time", code="duplicate-times"))


def _another(path: Path, what: str, expected: str, fix: str) -> InputError:
    code = {"grid": "different-grids", "quantity": "different-quantities"}[what]
    return InputError(Fault(f"{path}: another {what}", expected, fix, code=code))


def _quantities(image: xr.Dataset) -> tuple[str, ...]:
    dim = time_dimension(image)
    return tuple(sorted(str(name) for name, part in image.data_vars.items() if dim in part.dims))


def _product(image: xr.Dataset) -> str:
    return str(image.attrs.get("product", ""))


def _grid(image: xr.Dataset) -> tuple[Any, ...]:
    """Return the axes of the plane, in short, and the grid mappings."""
    dim = time_dimension(image)
    axes = tuple(
        (str(name), size, *([float(value) for value in image[name].values[[0, -1]]] if _is_axis(image, name) else []))
        for name, size in sorted(image.sizes.items(), key=str)
        if name != dim
    )
    maps = sorted(str(sorted(part.attrs.items(), key=str)) for part in image.variables.values() if _is_map(part))
    return axes, tuple(maps)


def _is_axis(image: xr.Dataset, name: Hashable) -> bool:
    return name in image.coords and image[name].dtype.kind in "fiu"


def _is_map(part: xr.Variable) -> bool:
    return "grid_mapping_name" in part.attrs or "crs_wkt" in part.attrs


def _describe(images: Sequence[Image]) -> str:
    path, image = images[0]
    product = _product(image)
    shape = " x ".join(str(size) for name, size in image.sizes.items() if name != time_dimension(image))
    label = ", ".join(_quantities(image)) + (f" ({product})" if product else "")
    return f"{len(images)} files with {label} of {shape} points, such as {path.name}"
