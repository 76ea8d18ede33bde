"""A page as a browser reads it: its elements, their attributes, its text and its pictures."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser

from PIL import Image

AWKWARD = (
    *("a;=1+1.png", "a\t=1+1", "=1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", "''=1", "'plain"),
    *('say "x";=1', "two\nlines;@x", "a,b", "", "plain"),
)
"""Texts that a spreadsheet takes for a formula, or cuts where its separator is another one."""
HOSTILE = (
    "<script>alert('x')</script>\"><img src=https://evil.example onerror=alert(1)>&quot;'</pre></script>"
    "<a href='javascript:alert(1)' onclick=alert(1)>{{ 7 * 7 }}{% raw %}<!-- ${1} -->"
)
"""What a model or a data set might write."""


class Page(HTMLParser):
    """Collects the elements of a page with their attributes, and its text.

    Attributes:
        elements: Tag and attributes of each, in order.
        text: All text, with white space between the pieces.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"

    @property
    def flat(self) -> str:
        """The text with single blanks."""
        return " ".join(self.text.split())

    def all(self, tag: str, kind: str | None = None) -> list[dict[str, str | None]]:
        """The attributes of the elements of a tag, and of a class."""
        found = [attributes for name, attributes in self.elements if name == tag]
        return [one for one in found if kind is None or kind in (one.get("class") or "").split()]

    def pictures(self) -> list[Image.Image]:
        """The embedded pictures."""
        data = [str(image["src"]).partition("base64,")[2] for image in self.all("img")]
        return [Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB") for text in data]

    def problems(self) -> list[str]:
        """Whatever runs or loads something that the template does not: handlers, links, frames, other files."""
        found = [f"<{tag} {name}>" for tag, attributes in self.elements for name in attributes if name.startswith("on")]
        found += [tag for tag, _ in self.elements if tag in ("a", "iframe", "object", "embed", "link", "base", "form")]
        found += [
            str(image["src"])[:40] for image in self.all("img") if not str(image["src"]).startswith("data:image/")
        ]
        found += ["script src" for script in self.all("script") if "src" in script]
        return found if len(self.all("script")) == 1 else [*found, f"{len(self.all('script'))} scripts"]
