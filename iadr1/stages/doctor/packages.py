"""What is installed, against the ranges of the installed package's own metadata."""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterator
from dataclasses import replace
from importlib.metadata import Distribution, PackageNotFoundError, distribution, version
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import iadr1
from iadr1.stages.doctor.rows import Row, State

_GROUP = "packages"
_BASE = "base"
_FOR_CARDS = ("deepspeed", "flash")
"""Extras that are of no use without a graphics card."""


def package_rows(needed: Collection[str], *, card: bool = True) -> list[Row]:
    """Python, the base install and every extra.

    Args:
        needed: The extras without which what was asked for cannot run.
        card: There is a graphics card; without one nothing for cards is advised.
    """
    try:
        own = distribution("iadr1")
    except PackageNotFoundError:
        found = f"iadr1 {iadr1.__version__} runs from a folder and is not installed, so its ranges are not known"
        return [Row(_GROUP, "iadr1", "warn", found, "pip install -e . (in the folder of its pyproject.toml)")]
    requirements = [Requirement(text) for text in own.requires or ()]
    shown: set[str] = set()
    rows = [_python(own), _row(_BASE, [one for one in requirements if one.marker is None], shown, needed=True)]
    members = {
        extra: [one for one in requirements if one.marker is not None and one.marker.evaluate({"extra": extra})]
        for extra in own.metadata.get_all("Provides-Extra") or ()
    }
    # The small ones first: of the larger ones that hold them only what they add is shown.
    for extra, packages in sorted(members.items(), key=lambda item: (len(item[1]), item[0])):
        row = _row(extra, packages, shown, needed=extra in needed)
        idle = extra in _FOR_CARDS and row.state == "skip" and not card
        rows.append(replace(row, found=f"{row.found}; it is for a GPU", advice="") if idle else row)
    return rows


def _python(own: Distribution) -> Row:
    running, wanted = platform.python_version(), SpecifierSet(own.metadata["Requires-Python"] or "")
    found = f"iadr1 {own.version}, Python {running}"
    if wanted.contains(running, prereleases=True):
        return Row(_GROUP, "python", "ok", found)
    return Row(_GROUP, "python", "fail", f"{found}, it needs {wanted}", f"install it with a Python {wanted}")


def _row(extra: str, packages: list[Requirement], shown: set[str], *, needed: bool) -> Row:
    """One row; packages and faults that an earlier row has shown are not told again."""
    name = extra if extra == _BASE else f"extra {extra}"
    faults = list(_faults(packages))
    fresh = sorted({one.name for one in packages} - shown)
    shown.update(fresh)
    rest = [] if len(fresh) == len(packages) else ["what smaller extras hold"]
    if not faults:
        listed = ", ".join(f"{package} {version(package)}" for package in fresh)
        return Row(_GROUP, name, "ok", " and ".join([*([listed] if listed else []), *rest]))
    told = [f"{one.package} {one.fault}" for one in faults if one.package in fresh]
    if not told and not needed:
        return Row(_GROUP, name, "skip", "what smaller extras lack")
    state: State = "fail" if needed else "skip" if all(one.missing for one in faults) else "warn"
    target = "iadr1" if extra == _BASE else f"iadr1[{extra}]"
    isolation = "--no-build-isolation " if extra == "flash" else ""
    found = "; ".join(told or [f"{one.package} {one.fault}" for one in faults])
    return Row(_GROUP, name, state, found, f'pip install {isolation}"{target}"')


class _Fault(NamedTuple):
    """A requirement that does not hold."""

    package: str
    fault: str
    missing: bool


def _faults(packages: list[Requirement]) -> Iterator[_Fault]:
    for one in packages:
        try:
            installed = version(one.name)
        except PackageNotFoundError:
            yield _Fault(one.name, "is missing", True)
            continue
        if not one.specifier.contains(installed, prereleases=True):
            yield _Fault(one.name, f"{installed} is not {one.specifier}", False)
