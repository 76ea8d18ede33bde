"""Imports point down only: this walks the syntax tree of every module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import iadr1

PACKAGE = Path(iadr1.__file__).parent

L0 = {
    "errors",
    "atomic",
    "locks",
    "records",
    "jsonl",
    "geometry",
    "headers",
    "images",
    "parallel",
    "licences",
    "rle",
    "spreadsheet",
}
L1 = {"prompts", "config", "provenance", "leaks", "published", "protocols"}
L2 = {"rewards", "datasets", "metrics", "models", "masks", "reports", "exports"}
BELOW = {
    **dict.fromkeys(L0, L0),
    **dict.fromkeys(L1, L0),
    "protocols": L0 | {"prompts", "provenance"},
    **dict.fromkeys(L2, L0 | {"prompts", "provenance"}),
    # Published figures stand in its tables.
    "reports": L0 | {"prompts", "provenance", "published"},
    # What is exported is asked as a protocol says.
    "exports": L0 | {"prompts", "provenance", "protocols"},
    "stages": L0 | L1 | L2,
    # The command line prints tables of `reports`; it loads stages and reports inside a command's body only.
    "cli": L0 | L1 | {"stages", "reports"},
    "__main__": {"cli"},
}
"""Room -> the other rooms it may import."""

SHARED = (("training",), ("scoring",), ("inspection",), ("engines",))
"""Rooms in `stages` that are no stage: what the training stages share, what those share that read the folders of runs
(`eval`, `score`, `detect --join`, `export`), what the commands that look at photos share, and how all run an engine."""

TORCH_FAMILY = {"torch", "torchvision", "transformers", "safetensors", "accelerate", "trl", "peft", "deepspeed"}
TORCH_ROOMS = {"models", "masks", "stages"}


@dataclass(frozen=True)
class Import:
    """One imported module; `lazy` where it stands inside a function or under `if TYPE_CHECKING`."""

    where: str
    module: str
    lazy: bool

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]

    @property
    def rooms(self) -> tuple[str, ...]:
        """`("stages", "grpo")` for `iadr1.stages.grpo.data`; empty for other packages and for `iadr1` itself."""
        return tuple(self.module.split(".")[1:3]) if self.top == "iadr1" else ()


def imports_of(tree: ast.Module, where: str) -> Iterator[Import]:
    """Every import of a module; `from iadr1 import config` counts as `iadr1.config`."""
    yield from _walk(tree, where, lazy=False)


def _walk(node: ast.AST, where: str, *, lazy: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        inside = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        inside = inside or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test))
        line = f"{where}:{getattr(child, 'lineno', 0)}"
        if isinstance(child, ast.Import):
            yield from (Import(line, alias.name, inside) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{line}: relative import"
            yield from (Import(line, _target(child.module or "", alias.name), inside) for alias in child.names)
        else:
            yield from _walk(child, where, lazy=inside)


def _target(module: str, name: str) -> str:
    """`from iadr1.stages import grpo` imports the module `iadr1.stages.grpo`; names of modules are no modules."""
    path = PACKAGE.parent.joinpath(*module.split("."), name)
    return f"{module}.{name}" if path.with_suffix(".py").exists() or (path / "__init__.py").exists() else module


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> tuple[str, ...]:
    return path.relative_to(PACKAGE).with_suffix("").parts[:2]


def all_imports() -> list[tuple[tuple[str, ...], Import]]:
    return [
        (room_of(path), found)
        for path in modules()
        for found in imports_of(ast.parse(path.read_text(encoding="utf-8")), str(path.relative_to(PACKAGE)))
    ]


def faults(rooms: tuple[str, ...], found: Import) -> str | None:
    """Why a module in this room may not have this import; None where it may."""
    room = rooms[0]
    if found.top in TORCH_FAMILY and room not in TORCH_ROOMS:
        return "only models/, masks/ and stages/ may load torch and its family"
    if not found.rooms or room == "__init__":
        return None
    target = found.rooms[0]
    if room == "stages" and target == "stages" and found.rooms[1:] not in (rooms[1:2], *SHARED):
        return "stages do not import each other"
    if target != room and target not in BELOW[room]:
        return f"{room} may not import {target}"
    if room == "cli" and target in ("stages", "reports") and not found.lazy:
        return "the command line loads a stage inside the command's body"
    return None


def test_every_room_has_its_place() -> None:
    known = {*BELOW, "__init__", "recipes"}
    assert {room_of(path)[0] for path in modules()} <= known


def test_imports_point_down() -> None:
    wrong = [f"{found.where}: {reason}" for rooms, found in all_imports() if (reason := faults(rooms, found))]
    assert not wrong, "\n".join(wrong)


def test_the_walk_sees_the_imports() -> None:
    assert len(all_imports()) > 50
    assert any(rooms[0] == "stages" and found.rooms[:1] == ("models",) for rooms, found in all_imports())


@pytest.mark.parametrize(
    ("path", "code", "reason"),
    [
        ("geometry", "from iadr1.prompts import parse", "geometry may not import prompts"),
        ("rewards/roam", "from iadr1 import config", "rewards may not import config"),
        ("metrics/choice", "from iadr1.datasets import SOURCES", "metrics may not import datasets"),
        ("rewards/roam", "def f():\n    import torch.nn", "only models/, masks/ and stages/"),
        ("stages/detect", "from iadr1.stages import evaluate", "stages do not import each other"),
        ("cli/detect", "from iadr1.stages import detect", "inside the command's body"),
        ("cli/detect", "def f():\n    from iadr1.models import base", "cli may not import models"),
        ("models/local", "import torch\nfrom iadr1.geometry import iou", None),
        ("cli/detect", "def f():\n    from iadr1.stages import detect", None),
        ("stages/grpo/data", "from iadr1.stages.grpo import scoring", None),
        ("stages/sft", "from iadr1.stages.training import folder", None),
        ("stages/training/folder", "from iadr1.stages import grpo", "stages do not import each other"),
    ],
)
def test_the_rules_hold_on_small_examples(path: str, code: str, reason: str | None) -> None:
    found = [faults(tuple(path.split("/")[:2]), item) for item in imports_of(ast.parse(code), path)]
    told = [item for item in found if item]
    assert (not told) if reason is None else any(reason in item for item in told)
