"""Base models that are known by their headers: by name, or by the size of their weights."""

from django.db.models import Q

from hub.spec import base_model as spec
from hub.spec import located as rules
from hub.spec import quantised
from registry.errors import NotFound
from registry.models import BaseAlias, LocatedBase, Namespace, Visibility
from registry.models.located import LocatedBaseQuerySet
from registry.queries import base_shapes, shapes
from registry.queries.viewers import Viewer

PAGE = 100
STATE = "located"
UNHASHED = "is known by its headers only: nobody has hashed it yet"
HASH_IT = "Whoever holds it gives it its fingerprint: hub base add DIR."


def visible(viewer: Viewer) -> LocatedBaseQuerySet:
    """Return the located base models that this viewer may know of and whose fingerprint is not known."""
    rows = LocatedBase.objects.unhashed().select_related("namespace")
    if viewer.is_admin or viewer.is_worker:
        return rows
    seen = Q(visibility=Visibility.PUBLIC)
    if viewer.person is not None:
        seen |= Q(namespace__in=Namespace.objects.of(viewer.person))
    return rows.filter(seen)


def find(name: str, viewer: Viewer) -> LocatedBase | None:
    """Return the located base model of this name, None where there is none for this viewer. The library's comes first."""
    rows = visible(viewer)
    found = rows.filter(namespace=None, name=name).first()
    namespace, _, rest = name.partition("/")
    if found is None and rest:
        found = rows.filter(namespace__name=namespace, name=rest).first()
    return found


def get(name: str, viewer: Viewer) -> LocatedBase:
    """Return the located base model of this name. Raises NotFound."""
    found = find(name, viewer)
    if found is None:
        raise unknown(name)
    return found


def unknown(name: str) -> NotFound:
    """Return the error for a name that means no base model, hashed or located."""
    return NotFound(f"There is no base model {name!r}.", hint="List them: hub base ls. Add one: hub base add DIR.")


def search(
    text: str, viewer: Viewer, before: LocatedBase | None = None
) -> tuple[list[base_shapes.BaseModelShape], bool]:
    """Return those whose name or source holds this text, newest first, a page of them, and whether there are more. A page
    begins behind `before`."""
    rows = visible(viewer).filter(Q(name__icontains=text) | Q(source__icontains=text))
    if before is not None:
        rows = rows.filter(Q(created_at__lt=before.created_at) | Q(created_at=before.created_at, pk__gt=before.pk))
    found = [shape(row) for row in rows.order_by("-created_at", "pk").defer("tensors")[: PAGE + 1]]
    return found[:PAGE], len(found) > PAGE


def awaited(size: int, viewer: Viewer) -> list[base_shapes.BaseModelShape]:
    """Return those whose weight files have so many bytes together: who holds as many may hold just these."""
    rows = visible(viewer).filter(size=size)
    return [shape(row) for row in rows.order_by("-created_at", "pk").defer("tensors")[:PAGE]]


def to_spec(row: LocatedBase) -> spec.BaseModel:
    """Return the value that hub.spec works on. Its fingerprint and roots mean nothing."""
    return rules.outline({"tensors": row.tensors, "config": row.config, "tokenizer_digest": row.tokenizer_digest})


def full_name(row: LocatedBase) -> str:
    """Return the name that finds it."""
    return f"{row.namespace.name}/{row.name}" if row.namespace else row.name


def ref(row: LocatedBase) -> shapes.BaseRef:
    """Return it as others mention it."""
    return {"fingerprint": None, "name": full_name(row), "state": STATE}


def shape(row: LocatedBase, *, tensors: bool = False) -> base_shapes.BaseModelShape:
    """Return it as the API shows a base model; with `tensors` the table of the headers and the configuration."""
    name = full_name(row)
    value: base_shapes.BaseModelShape = {
        "fingerprint": None,
        "name": name,
        "state": STATE,
        "roots": {},
        "cast_roots": {},
        "quantisation": quantised.scheme_of(row.config) or "",
        "architecture": row.architecture,
        "tokenizer_digest": row.tokenizer_digest,
        "parameters": row.parameters,
        "model_type": str(row.config.get("model_type", "")),
        "aliases": [name],
        "locations": [
            {
                "kind": BaseAlias.Kind.HUB.value,
                "name": row.source,
                "revision": row.revision,
                "state": BaseAlias.State.LIVE.value,
            }
        ],
        "owner": row.namespace.name if row.namespace else None,
        "relations": [],
        "tensors_url": f"/api/v1/base-models/{name}?tensors=1",
        "url": f"/b/{name}",
        "files": row.files,
        "claim": {"fingerprint": row.base_id, "claimed_by": row.claimed_by} if row.base_id else None,
    }
    if tensors:
        value |= {"tensors": row.tensors, "config": row.config}
    return value
