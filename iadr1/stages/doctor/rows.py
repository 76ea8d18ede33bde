"""One line of what the doctor says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from iadr1.errors import Iadr1Error

State = Literal["ok", "warn", "fail", "skip"]
GROUPS = ("packages", "machine", "hub", "model", "engine", "masks", "boxes")
"""In the order they are shown."""


@dataclass(frozen=True)
class Row:
    """What one check found.

    Attributes:
        group: What it belongs to, one of `GROUPS`.
        name: What was looked at.
        state: `ok`; `warn`, it works but not as well as it could; `fail`, what was asked for cannot run; `skip`, not
            there and not needed, or not looked at.
        found: What is there.
        advice: What to do, a command where there is one; empty where nothing is to be done.
    """

    group: str
    name: str
    state: State
    found: str
    advice: str = ""


def attempt(group: str, name: str, check: Callable[[], Row]) -> Row:
    """The row of a check; where it raises one of our errors or a package does not load, a failed row that says why."""
    try:
        return check()
    except Iadr1Error as error:
        where = f"{error.where}: " if error.where else ""
        return Row(group, name, "fail", f"{where}{error.message}", error.hint or "")
    except (ImportError, OSError) as error:
        # A package that is there and does not load: another CUDA, a missing system library.
        return Row(group, name, "fail", f"{type(error).__name__}: {first_line(error)}", "install the package again")


def first_line(error: BaseException) -> str:
    """The first line of an error's message; its kind where it has none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


def gib(count: float) -> str:
    """A number of bytes in GiB, or in MiB below one."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
