"""What every page of the hub is framed in: one style, and a policy under which nothing runs and nothing is fetched from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, RedirectResponse

_templates = Environment(
    loader=PackageLoader("kitty_sync.hub"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_STYLE = _templates.get_template("style.css").render()
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_FRAMED = {
    "Content-Security-Policy": f"default-src 'none'; img-src data:; style-src 'sha256-{_DIGEST}'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "X-Frame-Options": "DENY",
}


def page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page of the hub's own."""
    return HTMLResponse(
        _templates.get_template(template).render(style=Markup(_STYLE), **values), status, headers=_FRAMED
    )


def lead(where: str) -> RedirectResponse:
    """To another page of the hub, by GET."""
    return RedirectResponse(where, 303, headers=_FRAMED)
