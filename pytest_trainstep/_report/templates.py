"""The files of the page that lie beside this one: read as they are, or as templates to fill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2

_HERE = Path(__file__).parent


def source(name: str) -> str:
    """Return the text of a file."""
    return _HERE.joinpath(name).read_text(encoding="utf-8")


def template(name: str, **filters: Callable[..., Any]) -> jinja2.Template:
    """Return a template that escapes what it is given, and takes no unknown name for nothing."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(filters)
    return environment.from_string(source(name))
