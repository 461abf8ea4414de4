"""Identity of objects by content: equal digests mean equal results, in any process."""

from __future__ import annotations

import dis
import functools
import hashlib
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.errors import InputError

#: Fields of xvar's own objects on which no result depends.
WITHOUT_EFFECT = frozenset({"batch", "device", "errors", "keeps_memory", "memory", "refuse", "required", "together"})
_PLAIN = (type(None), type(...), type(NotImplemented), bool, int, float, complex, str, bytes)
_OF_MODULES = (*_PLAIN, types.FunctionType, types.ModuleType, type, np.ndarray, list, tuple, dict)
_WITHOUT_EFFECT_OF_CLASSES = frozenset({"__repr__", "__eq__", "__hash__", "__doc__"})
_DEPTH_OF_PARTS = 4


@dataclass
class Identity:
    """Digests of one walk through an object; `code` lists those of bytecode, which another version of Python changes.

    Objects count by their state (as pickle would record it), functions by their bytecode, defaults, closures and the
    globals that they read, classes that are not installed by their methods, arrays and tensors by their values.
    Installed packages count by name and version, xvar and torch by name alone: the manifest has their versions.
    """

    code: list[bytes] = field(default_factory=list)
    _known: dict[int, tuple[object, bytes]] = field(default_factory=dict)
    _open: list[int] = field(default_factory=list)

    def parts(self, value: object, name: str) -> dict[str, str]:
        """Return the digests of an object and of its dataclasses, by attribute path.

        InputError, with the path, if a part cannot be identified by content.
        """
        return {path: self.digest(part, path).hex() for path, part in _parts(value, name, _DEPTH_OF_PARTS)}

    def digest(self, value: object, path: str) -> bytes:
        """Return the digest of an object; `path` names it in messages."""
        if isinstance(value, _PLAIN):
            return _hash(type(value).__name__, repr(value))
        if id(value) in self._known:
            return self._known[id(value)][1]
        if id(value) in self._open:  # a circle
            return _hash("circle", len(self._open) - self._open.index(id(value)))
        self._open.append(id(value))
        try:
            found = _hash(*self._content(value, path))
        finally:
            self._open.pop()
        self._known[id(value)] = value, found  # kept alive, so that no other object gets its number
        return found

    def _content(self, value: Any, path: str) -> Iterator[object]:
        """Yield what identifies an object: text, bytes and digests."""
        torch = sys.modules.get("torch")
        if isinstance(value, (np.ndarray, np.generic)):
            yield from self._array(np.asarray(value), path)
        elif torch is not None and isinstance(value, torch.Tensor):
            yield from ("tensor", str(value.dtype), tuple(value.shape), type(value).__qualname__)
            plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
            yield plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""
        elif torch is not None and isinstance(value, (torch.dtype, torch.device)):
            yield from ("torch", str(value) if isinstance(value, torch.dtype) else "device")
        elif isinstance(value, (xr.DataArray, xr.Dataset, xr.Variable)):
            yield from self._labelled(value, path)
        elif isinstance(value, (dict, Mapping)):
            yield type(value).__qualname__
            for key, part in value.items():
                yield self.digest(key, path)
                yield self.digest(part, f"{path}[{key!r}]")
        elif isinstance(value, (set, frozenset)):
            yield from ("set", *sorted(self.digest(part, path) for part in value))
        elif isinstance(value, (list, tuple)):
            yield type(value).__qualname__
            for index, part in enumerate(value):
                yield self.digest(part, f"{path}[{index}]")
        elif isinstance(value, types.CodeType):
            self.code.append(_hash(value.co_code, value.co_names, value.co_flags, value.co_argcount))
            for part in value.co_consts:
                yield self.digest(part, path)
        elif isinstance(value, types.ModuleType):
            yield from self._module(value, path)
        elif isinstance(value, functools.partial):
            yield from ("partial", *(self.digest(part, path) for part in (value.func, value.args, value.keywords)))
        elif isinstance(value, types.MethodType):
            yield from ("method", self.digest(value.__func__, path), self.digest(value.__self__, path))
        elif isinstance(value, types.FunctionType):
            yield from self._function(value, path)
        elif isinstance(value, (types.BuiltinFunctionType, types.MethodDescriptorType, np.ufunc)):
            owner = getattr(value, "__self__", None)
            yield from ("builtin", str(getattr(value, "__module__", "")), value.__name__, type(value).__name__)
            yield b"" if owner is None or isinstance(owner, types.ModuleType) else self.digest(owner, path)
        elif isinstance(value, type):
            yield from self._class(value, path)
        elif hasattr(value, "__wrapped__"):
            yield from ("wrapped", type(value).__qualname__, self.digest(value.__wrapped__, path))
        elif is_dataclass(value) and _is_own(type(value)):
            yield type(value).__qualname__
            yield from self._attributes(_fields(value), path)
        else:
            yield from self._object(value, path)

    def _array(self, array: NDArray[Any], path: str) -> Iterator[object]:
        yield from ("array", array.dtype.newbyteorder("=").str, array.shape)
        if array.dtype.hasobject:
            yield from (self.digest(part, path) for part in array.ravel().tolist())
        else:
            yield np.ascontiguousarray(array, array.dtype.newbyteorder("=")).tobytes()

    def _labelled(self, value: Any, path: str) -> Iterator[object]:
        """Yield names, dimensions, units and values; other attributes change no result."""
        yield type(value).__name__
        labelled = value.to_dataset(name=value.name or "") if isinstance(value, xr.DataArray) else value
        variables = {"": labelled} if isinstance(labelled, xr.Variable) else labelled.variables
        for name, variable in variables.items():
            yield from (str(name), variable.dims, str(variable.attrs.get("units")))
            yield from self._array(np.asarray(variable.values), path)

    def _attributes(self, parts: Iterable[tuple[str, object]], path: str) -> Iterator[object]:
        """Yield names and digests."""
        for name, part in parts:
            yield name
            yield self.digest(part, f"{path}.{name}")

    def _function(self, value: types.FunctionType, path: str) -> Iterator[object]:
        yield from ("function", value.__module__, value.__qualname__)
        # An installed function is its name; a closure or a lambda holds more than that.
        if _is_installed(value.__module__):
            yield _version(value.__module__)
            if not value.__closure__:
                return
        else:
            yield self.digest(value.__code__, path)
            known = value.__globals__
            read = ((name, known[name]) for name in sorted(_globals_read(value.__code__)) if name in known)
            yield from self._attributes(read, path)
        for part in (value.__defaults__, value.__kwdefaults__, value.__dict__):
            yield self.digest(part, path)
        held = map(_contents, value.__closure__ or ())
        yield from self._attributes(zip(value.__code__.co_freevars, held, strict=True), path)

    def _module(self, value: types.ModuleType, path: str) -> Iterator[object]:
        yield from ("module", value.__name__, _version(value.__name__))
        if not _is_installed(value.__name__):
            parts = ((name, part) for name, part in sorted(vars(value).items()) if isinstance(part, _OF_MODULES))
            yield from self._attributes(((name, part) for name, part in parts if not name.startswith("__")), path)

    def _class(self, value: type, path: str) -> Iterator[object]:
        yield from ("class", value.__module__, value.__qualname__)
        if _is_installed(value.__module__):
            yield _version(value.__module__)
            return
        yield from (self.digest(base, path) for base in value.__bases__)
        for name, part in sorted(vars(value).items()):
            if isinstance(part, (staticmethod, classmethod)):
                part = part.__func__
            elif isinstance(part, (property, functools.cached_property)):
                part = part.fget if isinstance(part, property) else part.func
            is_function = isinstance(part, types.FunctionType) and part.__code__.co_filename != "<string>"
            if name in _WITHOUT_EFFECT_OF_CLASSES or name.startswith("_abc_"):
                continue
            if is_function or not (name.startswith("__") or isinstance(part, types.MemberDescriptorType)):
                yield from self._attributes([(name, part)], path)

    def _object(self, value: Any, path: str) -> Iterator[object]:
        """Yield class and state of an object, as pickle would record them; values that are cached do not count."""
        try:
            reduced = value.__reduce_ex__(4)
        except Exception as error:
            raise InputError(
                code="no-identity",
                found=f"{path} ({type(value).__module__}.{type(value).__qualname__}), which cannot be identified"
                f" by its content: {error}",
                expected="models, operators and options with a state that can be pickled, so that a resumed run can"
                " compare them",
                fix="define __getstate__(self) in its class, which returns all that results depend on, or make it"
                " at its first use",
            ) from error
        if isinstance(reduced, str):
            yield from ("global", type(value).__module__, reduced)
            return
        make, arguments, *rest = reduced
        state, entries, pairs = (*rest, None, None, None)[:3]
        yield from ("object", self.digest(type(value), path), self.digest(make, path), self.digest(arguments, path))
        for part in state if isinstance(state, tuple) else (state,):
            own = {str(name): one for name, one in part.items()} if isinstance(part, dict) else {"": part}
            cached = {name for name in own if isinstance(getattr(type(value), name, None), functools.cached_property)}
            yield from self._attributes(((name, one) for name, one in own.items() if name not in cached), path)
        yield from (self.digest(own, path) for part in (entries, pairs) for own in part or ())


def _hash(*content: object) -> bytes:
    found = hashlib.blake2b(digest_size=16)
    for part in content:
        data = part if isinstance(part, bytes) else repr(part).encode()
        found.update(len(data).to_bytes(8, "little"))
        found.update(data)
    return found.digest()


def _fields(value: Any) -> Iterator[tuple[str, object]]:
    """Yield the fields of a dataclass of xvar on which results depend."""
    return ((part.name, getattr(value, part.name)) for part in fields(value) if part.name not in WITHOUT_EFFECT)


def _parts(value: object, path: str, depth: int) -> Iterator[tuple[str, object]]:
    """Yield an object, or the fields of a dataclass of xvar, by their paths."""
    if depth and is_dataclass(value) and _is_own(type(value)):
        for name, part in _fields(value):
            yield from _parts(part, f"{path}.{name}", depth - 1)
    else:
        yield path, value


def _contents(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not yet assigned
        return None


def _globals_read(code: types.CodeType) -> set[str]:
    names = {str(step.argval) for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return names.union(*(_globals_read(part) for part in code.co_consts if isinstance(part, types.CodeType)))


def _is_own(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "xvar"


@functools.cache
def _is_installed(module: str | None) -> bool:
    """Return True for modules that name and version identify: of xvar, of Python, of installed packages."""
    root = str(module).partition(".")[0]
    if root == "xvar" or root in sys.stdlib_module_names:
        return root != "__main__"
    file = str(getattr(sys.modules.get(root), "__file__", None) or "")
    return "site-packages" in file or "dist-packages" in file


@functools.cache
def _version(module: str) -> str:
    """Return the version of an installed module; none of those that the manifest records by themselves."""
    root = module.partition(".")[0]
    if root in ("xvar", "torch") or root in sys.stdlib_module_names:
        return ""
    try:
        return version(packages_distributions().get(root, [root])[0])
    except PackageNotFoundError:
        return ""
