"""The list of all base models: those that have a fingerprint, newest first, then those that are known by their headers."""

from registry.errors import BadRequest
from registry.queries import base_models, base_shapes, located
from registry.queries.viewers import Viewer

LOCATED = "located "
"""How the cursor of a page begins that starts among those known by their headers."""


def page(text: str, viewer: Viewer, cursor: str = "") -> tuple[list[base_shapes.BaseModelShape], str]:
    """Return the base models whose names or fingerprint hold this text, and the cursor of the next page ('' at the end).

    A cursor names the last one that was shown. Raises BadRequest for one that names nothing.
    """
    found: list[base_shapes.BaseModelShape] = []
    if not cursor.startswith(LOCATED):
        before = base_models.find(cursor, viewer) if cursor else None
        if cursor and before is None:
            raise _unreadable()
        found, more = base_models.search(text, viewer, before)
        if more:
            return found, str(found[-1]["fingerprint"])
        cursor = LOCATED
    name = cursor.removeprefix(LOCATED)
    last = located.find(name, viewer) if name else None
    if name and last is None:
        raise _unreadable()
    headers, more = located.search(text, viewer, last)
    return found + headers, LOCATED + headers[-1]["name"] if more else ""


def _unreadable() -> BadRequest:
    return BadRequest("The cursor cannot be read.", hint="Begin again without it.")
