"""The rules of the house that a syntax tree can show."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import iadr1
from iadr1 import config as configs

PACKAGE = Path(iadr1.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
STAGE_OF = {
    configs.PrepareConfig: ("prepare",),
    configs.TrainConfig: ("grpo", "training"),
    configs.GroundConfig: ("grpo", "training"),
    configs.PretrainConfig: ("pretrain", "training"),
    configs.NewModelConfig: ("model",),
    configs.SftConfig: ("sft", "training"),
    configs.SegmenterConfig: ("segmenter", "training"),
    configs.EvalConfig: ("evaluate", "engines"),
    configs.DetectConfig: ("detect", "inspection", "engines"),
    configs.CalibrateConfig: ("calibrate", "inspection", "engines"),
    configs.ServeConfig: ("serve", "inspection", "engines"),
    configs.WatchConfig: ("watch", "inspection", "engines"),
    configs.DoctorConfig: ("doctor", "inspection", "engines"),
}
TAGS = re.compile(r"</?(think|answer|location|type)>")
MAX_LINES = 350


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def nodes() -> Iterator[tuple[Path, ast.AST]]:
    for path in MODULES:
        for node in ast.walk(tree(path)):
            yield path, node


def docstrings(module: ast.AST) -> set[int]:
    """The ids of the constants that are docstrings, or bare strings under an attribute, which document it."""
    return {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}


def place(path: Path, node: ast.AST) -> str:
    return f"{name(path)}:{getattr(node, 'lineno', 0)}"


def test_no_error_is_swallowed() -> None:
    wrong = []
    for path, node in nodes():
        if isinstance(node, ast.ExceptHandler):
            caught = {part.id for part in ast.walk(node.type or ast.Name("bare")) if isinstance(part, ast.Name)}
            if node.type is None or caught & {"Exception", "BaseException"}:
                wrong.append(place(path, node))
    assert not wrong


def test_only_the_command_line_prints() -> None:
    wrong = [
        place(path, node)
        for path, node in nodes()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not [where for where in wrong if not where.startswith("cli/")]


def test_only_prompts_knows_the_tags() -> None:
    wrong = []
    for path in MODULES:
        skip = docstrings(tree(path))
        for node in ast.walk(tree(path)):
            text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            if TAGS.search(text) and id(node) not in skip and not name(path).startswith("prompts/"):
                wrong.append(place(path, node))
    assert not wrong


def test_nothing_is_left_to_do() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError")
    assert not [name(path) for path in MODULES if marks.search(path.read_text(encoding="utf-8"))]


def test_modules_are_short() -> None:
    lengths = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert not {path: lines for path, lines in lengths.items() if lines > MAX_LINES}


def test_no_remote_code() -> None:
    wrong = [
        place(path, node.value)
        for path, node in nodes()
        if isinstance(node, ast.keyword) and node.arg == "trust_remote_code" and ast.unparse(node.value) != "False"
    ]
    assert not wrong


def public_definitions(
    body: list[ast.stmt], path: Path
) -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield path, node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body, path)


def test_everything_public_has_a_docstring() -> None:
    wrong = [name(path) for path in MODULES if not ast.get_docstring(tree(path))]
    for path in MODULES:
        wrong += [
            f"{place(path, node)} {node.name}"
            for _, node in public_definitions(tree(path).body, path)
            if not ast.get_docstring(node)
        ]
    assert not wrong


def stage_modules(stage: str) -> list[Path]:
    """`stages/grpo.py`, `stages/grpo_data.py` and the modules of `stages/grpo/`."""
    return [path for path in MODULES if re.match(rf"stages/{stage}(\.py$|_|/)", name(path))]


@pytest.mark.parametrize("kind", list(STAGE_OF), ids=lambda kind: kind.__name__)
def test_every_setting_is_read(kind: type) -> None:
    """Rule 2: an option that nothing reads is a lie."""
    paths = [path for stage in STAGE_OF[kind] for path in stage_modules(stage)]
    read = {
        node.attr
        for path in paths
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).rpartition(".")[2] in ("config", "_config")
    }
    assert {field.name for field in dataclasses.fields(kind)} - read == set()
