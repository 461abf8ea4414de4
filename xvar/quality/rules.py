"""The rules of quality control, each declared once: name, documentation, kinds of variables, default.

The option ``quality=``, its faults, the flags of the output and the table of the documentation are made from `RULES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from xvar.cf.kinds import Kind
from xvar.errors import Faults, nearest
from xvar.quality import radar, radiometer, values
from xvar.quality.radar import FRAMES
from xvar.quality.values import Floats, Mask, Screen

KINDS: tuple[Kind, ...] = get_args(Kind)
ECHOES: tuple[Kind, ...] = ("rain", "reflectivity")
LIMITS = "0 to 3000 mm/h, -130 to 130 dBZ, 100 to 1000 K"
PACKED = "a packed radar image that declares no missing value"


@dataclass(frozen=True)
class Rule:
    """A rule by which values of a window are rejected: taken as missing."""

    name: str
    doc: str  # the rejected values, in one line
    find: Callable[[Floats, Screen], Mask]  # of frames (frame, y, x); its mask is broadcast to them
    kinds: tuple[Kind, ...] = KINDS
    artefact: bool = False  # compares frames that move: not in the default set of a user's own model
    required: bool = False

    def rejected(self, frames: Floats, screen: Screen) -> Mask:
        """Return the values (frame, y, x) of one window that the rule rejects."""
        if self.artefact:
            if len(frames) < FRAMES or not np.isfinite(frames).any():
                return np.zeros(frames.shape, dtype=bool)
            frames = frames.astype("float64")
        return self.find(frames, screen) & ~np.isnan(frames)

    def __reduce__(self) -> tuple[Callable[[str], Rule], tuple[str]]:
        return rule, (self.name,)


def _artefact(name: str, doc: str, find: Callable[[Floats], Mask], *kinds: Kind) -> Rule:
    return Rule(name, doc, lambda frames, _: find(frames), kinds, artefact=True)


#: In the order in which they are used: each sees the values that those before it kept. The order is also the code of a
#: rule in files: new rules go to the end.
RULES = (
    Rule("infinite", "infinite values", values.infinite, required=True),
    Rule("fill_value", "an undeclared fill value, such as -9999, far from all other values", values.fill_value),
    Rule("range", f"values beyond the physical limits: {LIMITS}", values.out_of_range),
    Rule("highest_code", f"the highest code of {PACKED}", values.highest_code, ECHOES),
    _artefact("dry_frames", "frames without any echo between frames of rain", radar.dry_frames, *ECHOES),
    _artefact("ground_echoes", "isolated echoes that stand still while others move", radar.ground_echoes, *ECHOES),
    _artefact(
        "blocked_sectors",
        "pixels that are always dry, beside heavy rain that ends at the same line in every frame",
        radar.blocked_sectors,
        *ECHOES,
    ),
    _artefact(
        "cloud_rims",
        "pixels beside a cloud that are far colder than usual and than all clear pixels around",
        radiometer.cloud_rims,
        "sea_temperature",
    ),
    _artefact(
        "broken_lines",
        "rows and columns that exceed, or fall below, both lines beside them in one frame only",
        radiometer.broken_lines,
        "sea_temperature",
    ),
)
NAMES = tuple(rule.name for rule in RULES)


def rule(name: str) -> Rule:
    """Return a rule by its name."""
    return RULES[NAMES.index(name)]


def reject(frames: Floats, rules: Iterable[Rule], screen: Screen) -> tuple[Floats, dict[Rule, Mask]]:
    """Return frames (frame, y, x) with NaN for rejected values, and the mask of each rule that rejected any."""
    found = {}
    for one in rules:
        wrong = one.rejected(frames, screen)
        if wrong.any():
            found[one] = wrong
            frames = np.where(wrong, np.nan, frames)
    return frames, found


def read_quality(option: Any, kind: Kind, faults: Faults, *, images: bool = True) -> tuple[Rule, ...]:
    """Return the rules that the option ``quality=`` asks for, in the order of `RULES`.

    None and "default" are the default set, without artefacts if not `images`. Names are exactly these rules; names that
    begin with "-" are left out of the default set. A mapping switches rules on (True) and off (False).
    """
    switches = _switches(option, faults)
    if switches is None:
        return ()
    own = [one.name for one in RULES if kind in one.kinds]
    for name, used in switches.items():
        code, expected, fix = "", f"rules among {', '.join(own)}", f"leave {name!r} out"
        if name not in NAMES:
            code, expected = "unknown-rule", f"rules among {', '.join(NAMES)}"
            fix = nearest(name, NAMES, f"quality={{{NAMES[2]!r}: False}}")
        elif used and name not in own:
            code = "rule-of-other-kind"
        elif not used and rule(name).required:
            code, expected = "required-rule", f"rules without {name!r}, which is always in use"
            fix += f"; strict=True raises if there are {rule(name).doc}"
        if code:
            found = f"quality={option!r} {'with' if used else 'without'} the rule {name!r}, for kind {kind!r}"
            faults.add(code=code, found=found, expected=expected, fix=fix)
    whole = option is None or isinstance(option, Mapping) or not any(switches.values())
    return tuple(
        one
        for one in RULES
        if kind in one.kinds and (one.required or switches.get(one.name, whole and (images or not one.artefact)))
    )


def _switches(option: Any, faults: Faults) -> dict[str, bool] | None:
    """Return the option as rules that are switched on and off; None, with a fault, if it is none."""
    if option is None or (isinstance(option, str) and option == "default"):
        return {}
    if isinstance(option, Mapping) and all(isinstance(used, (bool, np.bool_)) for used in option.values()):
        return {str(name): bool(used) for name, used in option.items()}
    names = [option] if isinstance(option, str) else option
    if not isinstance(names, Mapping) and isinstance(names, Iterable):
        names = list(names)
        if all(isinstance(name, str) for name in names):
            return {name.removeprefix("-"): not name.startswith("-") for name in names}
    faults.add(
        code="quality-type",
        found=f"quality={option!r}",
        expected="names of rules, or a mapping of names to True or False",
        fix='quality={"range": False}',
    )
    return None
