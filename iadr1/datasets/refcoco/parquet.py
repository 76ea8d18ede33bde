"""The hub's tables: jxu124/refcoco (and refcocoplus, refcocog), jxu124/refcoco-benchmark, lmms-lab/RefCOCO.

All are read for their names, boxes and sentences only, a batch at a time. The pictures inside lmms-lab's tables are
not taken out: they are COCO's train2014 images, which the samples must name as files.

lmms-lab's validation files join google's 5,000 references with unc's (umd's), and a row does not tell whose it is:
their split is `google+unc-val`, so that no score mixes in silence.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from iadr1.datasets.refcoco.common import (
    Expression,
    Family,
    image_name,
    image_number,
    question,
    sentences_of,
    xyxy,
)
from iadr1.errors import DataError, MissingExtraError
from iadr1.geometry import Size

_Row = Mapping[str, Any]
_Reader = Callable[[_Row, "_Table", int], Iterator[Expression]]

_ROWS = 1000
_BENCHMARK = re.compile(r"(refcoco|refcoco_plus|refcocog)_(unc|umd|google)_(val|testA|testB|test)-.*")
_PART = re.compile(r"(train|validation|val|testA|testB|test)(-.*)?")


class _Table:
    """One file: whose set it is, what its name says of the split, and where the images lie."""

    def __init__(self, path: Path, family: Family, images: str) -> None:
        self.path, self.family, self.images = path, family, images
        match = _PART.fullmatch(path.stem)
        self.split = {"validation": "val"}.get(match[1], match[1]) if match else ""

    def expression(self, by: str, split: str, reference: object, sentence: int, **fields: Any) -> Expression:
        """An expression of this table; `fields` are those that the rows tell."""
        return Expression(
            id=f"{by}/{split}/{reference}/{sentence}",
            dataset=self.family.name,
            split=f"{by}-{split}",
            question=question(fields["text"]),
            **fields,
        )

    def where(self, number: int) -> str:
        return f"{self.path}: row {number}"

    def image(self, number: int) -> str:
        return f"{self.images}/{image_name(number)}"


def tables(home: Path, family: Family) -> list[Path]:
    """The parquet files of a set in a folder or its `data/`; those of the benchmark that are of another set not."""
    found = sorted(path for pattern in ("*.parquet", "data/*.parquet") for path in home.glob(pattern))
    named = [(path, _BENCHMARK.fullmatch(path.stem)) for path in found]
    return [path for path, match in named if match is None or match[1] == family.benchmark]


def load(paths: Sequence[Path], family: Family, *, images: str) -> Callable[[], Iterator[Expression]]:
    """The expressions of parquet files in order.

    Args:
        paths: The files.
        family: Whose they are.
        images: The folder of the images, relative to the root.

    Raises:
        MissingExtraError: pyarrow is not installed.
        DataError: A file is no parquet, or its columns or rows are of no known table.
    """
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtraError("pyarrow", "data", purpose="reading parquet files") from error

    def expressions() -> Iterator[Expression]:
        for path in paths:
            yield from _expressions(parquet, _Table(path, family, images))

    return expressions


def _expressions(parquet: Any, table: _Table) -> Iterator[Expression]:
    where = str(table.path)
    try:
        with parquet.ParquetFile(table.path) as file:
            columns = set(file.schema_arrow.names)
            known = [(names, reader) for names, reader in _FORMS if columns.issuperset(names)]
            if not known:
                raise DataError(
                    f"not a table of referring expressions; columns: {', '.join(sorted(columns)):.200}",
                    where=where,
                    hint="known are those of jxu124/refcoco, jxu124/refcoco-benchmark and lmms-lab/RefCOCO",
                )
            names, reader = known[0]
            number = 0
            for batch in file.iter_batches(batch_size=_ROWS, columns=list(names)):
                for row in batch.to_pylist():
                    yield from reader(row, table, number)
                    number += 1
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise DataError(f"cannot read the parquet file: {error}", where=where) from error
    except (KeyError, TypeError) as error:  # members of a nested column
        raise DataError(f"a row is not as its table's: {error!r:.80}", where=where) from error


def _hub(row: _Row, table: _Table, number: int) -> Iterator[Expression]:
    """A row of jxu124/refcoco: the box from `raw_anns`, COCO's own (the column `bbox` may be in another layout)."""
    where = table.where(number)
    annotation, info = _json(row["raw_anns"], where), _json(row["raw_image_info"], where)
    split = str(row["split"])
    if split == "test" and table.family.by == "unc":  # unc has no test; the first of its two is called so there
        split = "testA"
    for sentence, text in sentences_of(row["sentences"], where):
        yield table.expression(
            table.family.by,
            {"validation": "val"}.get(split, split),
            row["ref_id"],
            sentence,
            image=table.image(_number(row["image_id"], where)),
            size=_size(info, where),
            box=xyxy(annotation.get("bbox"), where),
            text=text,
            category=str(row["category_id"]),
            where=where,
        )


def _benchmark(row: _Row, table: _Table, number: int) -> Iterator[Expression]:
    """A row of jxu124/refcoco-benchmark: one image with all its references; whose split is in the file's name."""
    where, match = table.where(number), _BENCHMARK.fullmatch(table.path.stem)
    if match is None:
        raise DataError("the name does not say whose split it is", where=where, hint="keep refcoco_unc_val-...parquet")
    for entry in row["ref_list"] or []:
        reference, annotation = entry["ref_info"], entry["ann_info"]
        for sentence, text in sentences_of(reference["sentences"], where):
            yield table.expression(
                match[2],
                match[3],
                reference["ref_id"],
                sentence,
                image=table.image(_number(reference["image_id"], where)),
                size=_size(row["image_info"], where),
                box=xyxy(annotation["bbox"], where),
                text=text,
                category=str(reference["category_id"]),
                where=where,
            )


def _pictures(row: _Row, table: _Table, number: int) -> Iterator[Expression]:
    """A row of lmms-lab/RefCOCO: `answer` holds the expressions; the size is the image's own.

    A reference has no number there, and may be in val twice (google's and unc's): the row stands for it.
    """
    where, by = table.where(number), table.family.mixed.get(table.split)
    if by is None:
        raise DataError(
            f"{table.family.name} has no split {table.split or table.path.stem!r} there",
            where=where,
            hint=f"it has {', '.join(table.family.mixed)}",
        )
    texts = row["answer"]
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise DataError(f"'answer' is not a list of expressions: {texts!r:.60}", where=where)
    for sentence, text in enumerate(texts):
        yield table.expression(
            by,
            table.split,
            f"{table.path.stem}#{number}",
            sentence,
            image=table.image(image_number(row["file_name"], where)),
            size=None,
            box=xyxy(row["bbox"], where),
            text=text.strip(),
            category="unknown",
            where=where,
        )


_FORMS: tuple[tuple[tuple[str, ...], _Reader], ...] = (
    (("ref_id", "image_id", "split", "sentences", "category_id", "raw_anns", "raw_image_info"), _hub),
    (("ref_list", "image_info"), _benchmark),
    (("answer", "bbox", "file_name"), _pictures),
)


def _json(text: object, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON: {text!r:.60}", where=where) from error
    if not isinstance(value, dict):
        raise DataError(f"not a JSON object: {text!r:.60}", where=where)
    return value


def _number(value: object, where: str) -> int:
    if type(value) is not int:
        raise DataError(f"the image id is {value!r:.40}", where=where)
    return value


def _size(info: object, where: str) -> Size:
    known = info if isinstance(info, dict) else {}
    width, height = known.get("width"), known.get("height")
    if type(width) is not int or type(height) is not int:
        raise DataError(f"width and height of the image are {width!r:.20} and {height!r:.20}", where=where)
    return width, height
