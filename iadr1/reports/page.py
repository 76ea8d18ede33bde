"""How a page is written: a template filled piece by piece into one self-contained file, with its pictures inside."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from iadr1.errors import OutputError
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
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("w", encoding="utf-8", errors="replace") as file:
                file.writelines(pieces)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write: {error.strerror}", where=str(path)) from error


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
