"""CVAT for images 1.1, one XML (https://docs.cvat.ai/docs/other/xml_format).

    <annotations><version>1.1</version><meta><task>... <labels><label><name>crack</name>...</meta>
      <image id="0" name="a/001.png" width="640" height="480">
        <polygon label="crack" source="auto" occluded="0" points="1.00,2.00;..." z_order="0" group_id="1">
          <attribute name="score">0.9700</attribute></polygon>
        <box label="dent" source="auto" occluded="0" xtl="1.00" ytl="2.00" xbr="9.00" ybr="7.00" z_order="0"/>
      </image></annotations>

The task must have the labels of `<meta>` before the file is uploaded to it; it knows its images by their names. A mask
is a polygon for each of its parts, the parts of one defect in one group; a hole is joined to the outline by a slit of
no width. A photo that is not normal but has no shape carries its verdict as a tag, which is then a label as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from iadr1.errors import DataError
from iadr1.exports.annotations.base import AnnotationFormat, Entry, Job, Shape
from iadr1.exports.annotations.folder import new_text
from iadr1.exports.annotations.outlines import Part, parts

_NOT_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def write(job: Job) -> tuple[str, ...]:
    """Write the XML; the records are read twice, since all labels stand before all images."""
    tags = sorted({entry.record.verdict for entry in job.entries() if _is_tagged(entry)})
    with new_text(job.out) as file:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n')
        file.writelines(_meta(job, tags))
        groups = 0
        for entry in job.entries():
            file.write(_opening(entry))
            if _is_tagged(entry):
                file.write(f'<tag label={quoteattr(entry.record.verdict)} source="auto"></tag>\n')
            for shape in entry.shapes:
                found = parts(shape.mask) if shape.mask is not None else []
                groups += len(found) > 1
                file.writelines(_elements(shape, found, f' group_id="{groups}"' if len(found) > 1 else ""))
            file.write("</image>\n")
        file.write("</annotations>\n")
    return (f"the task in CVAT needs the labels: {', '.join((*job.labels, *tags)) or 'none'}",)


def _is_tagged(entry: Entry) -> bool:
    return not entry.shapes and entry.record.verdict != "normal"


def _meta(job: Job, tags: Sequence[str]) -> Iterator[str]:
    yield f"<meta><task><name>iadr1 detect</name><size>{job.total}</size><mode>annotation</mode><labels>\n"
    for label in job.labels:
        yield _label(label, "any", _SCORE)
    for tag in tags:
        yield _label(tag, "tag", "")
    yield "</labels></task></meta>\n"


def _label(name: str, kind: str, attributes: str) -> str:
    inside = {"name": escape(name), "type": kind, "attributes": attributes}
    return f"<label>{''.join(f'<{key}>{text}</{key}>' for key, text in inside.items())}</label>\n"


_SCORE = (
    "<attribute><name>score</name><mutable>False</mutable><input_type>text</input_type><default_value></default_value>"
    "<values></values></attribute>"
)


def _opening(entry: Entry) -> str:
    name = entry.record.image
    if _NOT_XML.search(name):
        raise DataError(f"the name {name!r} cannot stand in XML", where=entry.where, hint="rename the photo")
    width, height = entry.size
    return f'<image id="{entry.number}" name={quoteattr(name)} width="{width}" height="{height}">\n'


def _elements(shape: Shape, found: Sequence[Part], group: str) -> Iterator[str]:
    head = f'label={quoteattr(shape.label)} source="auto" occluded="0"'
    score = "" if shape.score is None else f'<attribute name="score">{shape.score:.4f}</attribute>'
    if not found:
        corners = zip(("xtl", "ytl", "xbr", "ybr"), shape.box, strict=True)
        sides = " ".join(f'{name}="{value:.2f}"' for name, value in corners)
        yield f'<box {head} {sides} z_order="0">{score}</box>\n'
        return
    for part in found:
        points = ";".join(f"{x:.2f},{y:.2f}" for x, y in part.ring)
        yield f'<polygon {head} points="{points}" z_order="0"{group}>{score}</polygon>\n'


FORMAT = AnnotationFormat(name="cvat", suffix=".xml", write=write, polygons=True)
