"""The catalogue as a page: `python -m pytest_trainstep._diagnose.page` prints what stands in docs/causes.md."""

from __future__ import annotations

import sys

from .catalogue import Entry, catalogue

_HEAD = """# Causes

What each cause in a message means. `pytest --trainstep-explain CAUSE` prints the same in the terminal. This page is
generated from the catalogue in the code; a name is never changed or reused once released.
"""


def page() -> str:
    """Return the whole page, claims in alphabetical order and their causes in the order of the catalogue."""
    claims: dict[str, list[Entry]] = {}
    for entry in catalogue().values():
        claims.setdefault(" / ".join(f"`{claim}`" for claim in entry.claims), []).append(entry)
    parts = [_HEAD]
    for claim in sorted(claims):
        parts.append(f"\n## {claim}\n")
        parts.extend(_section(entry) for entry in claims[claim])
    return "".join(parts)


def _section(entry: Entry) -> str:
    code = entry.example.strip("\n")
    return (
        f"\n### {entry.name}\n\n{entry.fault}\n\n```python\n{code}\n```\n\n"
        f"- fix: {entry.fix}\n- on purpose? {entry.on_purpose}\n"
    )


if __name__ == "__main__":
    sys.stdout.write(page())
