"""How a page is written: a template filled piece by piece into one self-contained file, with its pictures inside."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from iadr1.atomic import atomic
from iadr1.geometry import Size
from iadr1.images import fit_within


def write_page(path: Path, template: str, **content: Any) -> None:
    """Fill a template of `reports/templates` and write the page, whole or not at all.

    Iterators in `content` are read while the page is written, so memory does not grow with their length. Half a
    surrogate pair, which UTF-8 cannot hold, becomes `?`.

    Args:
        path: The HTML file.
        template: Name of the template.
        content: Its variables.

    Raises:
        OutputError: The file cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("iadr1.reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    pieces = environment.get_template(template).generate(**content)
    with atomic(path, errors="replace") as file:
        file.writelines(pieces)


def data_uri(picture: Image.Image, bounds: Size, *, quality: int = 85) -> str:
    """A picture as a JPEG inside a page.

    Args:
        picture: 8-bit RGB picture.
        bounds: Width and height in pixels that it is scaled down to fit into; smaller ones stay as they are.
        quality: Of the JPEG, 1 to 95.
    """
    small = picture.resize(fit_within(picture.size, bounds), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
