"""A page that lists the interface, without a script and without anybody else's server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, select_autoescape

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{{ api.info.title }} {{ api.info.version }}</title>
<h1>{{ api.info.title }} {{ api.info.version }}</h1>
<p>{{ api.info.description }} <a href="openapi.json">openapi.json</a></p>
{% for path, methods in api.paths.items() %}{% for method, one in methods.items() %}
<h2><code>{{ method | upper }} {{ path }}</code></h2>
<p>{{ one.summary }} {{ one.description }}</p>
<table>
{% for item in one.parameters %}<tr><td><code>?{{ item.name }}</code><td>{{ item.description }}
{% endfor %}{% for kind, body in one.get("requestBody", {}).get("content", {}).items() %}
<tr><td colspan="2"><code>{{ kind }}</code>
{% for name, item in body.schema.get("properties", {}).items() %}<tr><td><code>{{ name }}</code>
<td>{{ item.description }}
{% endfor %}{% endfor %}{% for status, item in one.responses.items() %}<tr><td>{{ status }}<td>{{ item.description }}
{% endfor %}</table>
{% endfor %}{% endfor %}
"""


def page(api: Mapping[str, Any]) -> str:
    """The page.

    Args:
        api: The OpenAPI document.
    """
    return Environment(autoescape=select_autoescape(default=True)).from_string(_PAGE).render(api=api)
