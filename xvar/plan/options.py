"""What the options of `assimilate` take; other values are refused at the call, with the nearest that would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from xvar.errors import Faults, nearest
from xvar.execution.batch_sizes import is_batch
from xvar.execution.batches import Errors

if TYPE_CHECKING:
    from xvar.core.covariance.coast import Coast

Saved = Literal["increment", "innovation", "residual", "cost_history"]
Constraint = Literal["strong", "weak"]

SAVED: tuple[Saved, ...] = ("increment", "innovation", "residual", "cost_history")
DEVICES = ("cpu", "cuda", "mps", "xpu")  # those that people have; torch knows others
_CONSTRAINTS: tuple[Constraint, ...] = ("strong", "weak")
_COASTS: tuple[Coast, ...] = ("no_flow", "free")
_ERRORS: tuple[Errors, ...] = ("raise", "continue")
_CHOICES: Mapping[str, tuple[object, ...]] = {
    "errors": _ERRORS,
    "dtype": (None, "float32", "float64"),
    "constraint": _CONSTRAINTS,
    "coast": _COASTS,
    "sort": (False, True),
    "strict": (False, True),
}


def check_options(faults: Faults, options: Mapping[str, Any], *, savable: Sequence[Saved] = SAVED) -> None:
    """Note the values that an option does not take.

    Parameters
    ----------
    faults : Faults
        Takes what is wrong.
    options : mapping of str to value
        Of `assimilate`, by name: those of `errors`, `dtype`, `constraint`, `coast`, `sort`, `strict`, `batch`, `save`,
        `device` and `minimizer`.
    savable : sequence of str
        What `save` may name.
    """
    for name, allowed in _CHOICES.items():
        faults.check_choice(name, options[name], allowed, allowed[-1])
    batch, save, minimizer = options["batch"], options["save"], options["minimizer"]
    if not is_batch(batch):
        faults.add(
            found=f"batch={batch!r}",
            expected='a number of windows, 1 or more, or a memory such as "500MiB"',
            fix="batch=8, or leave it out",
        )
    unknown = [word for word in ([save] if isinstance(save, str) else save) if word not in savable]
    if isinstance(save, str) or unknown:
        faults.add(
            found=f"save={save!r}",
            expected=f"a sequence of {', '.join(savable)}",
            fix=nearest(unknown[0], savable, f"save=({savable[0]!r},)") if unknown else f"save=({save!r},)",
        )
    if minimizer is not None and not callable(minimizer):
        faults.add(
            found=f"minimizer={minimizer!r}",
            expected="a minimiser of xvar.minimize",
            fix="minimizer=xvar.minimize.LBFGS(max_evaluations=200), or leave it out",
        )
    _check_device(faults, options["device"])


def _check_device(faults: Faults, device: Any) -> None:
    """Note what torch does not know; whether a device is there is known where windows are solved."""
    import torch

    if device is None:
        return
    try:
        torch.device(device)
    except (RuntimeError, TypeError):
        kind, _, number = str(device).partition(":")
        faults.add(
            found=f"device={device!r}",
            expected=f"a device of torch: {', '.join(DEVICES)}, or one by its number, such as cuda:1",
            fix=nearest(kind, DEVICES, "leave it out") if not number or number.isdigit() else "cuda:0",
        )
