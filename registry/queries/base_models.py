"""Base models: by fingerprint or by name."""

import dataclasses
from typing import Any

from django.db.models import BooleanField, F, Func, Q, QuerySet, Value

from hub.spec import base_model as spec
from hub.spec import card, documents, quantised
from registry.errors import NotFound
from registry.models import BaseAlias, BaseModel, BaseRelation, Namespace, Visibility
from registry.queries import base_shapes, located, shapes
from registry.queries.viewers import Viewer

PAGE = 100


def visible(viewer: Viewer) -> QuerySet[BaseModel]:
    """Return the base models that this viewer may know of."""
    if viewer.is_admin or viewer.is_worker:
        return BaseModel.objects.all()
    seen = Q(visibility=Visibility.PUBLIC)
    if viewer.person is not None:
        seen |= Q(owner__in=Namespace.objects.of(viewer.person))
    return BaseModel.objects.filter(seen)


def sees(viewer: Viewer, base: BaseModel) -> bool:
    """Whether this viewer may know of the base model."""
    return base.visibility == Visibility.PUBLIC or visible(viewer).filter(pk=base.pk).exists()


def cast_to(rows: QuerySet[BaseModel], part: str, root: str) -> QuerySet[BaseModel]:
    """Keep the base models of which some cast, whatever its format is called, has this root of a part."""
    if not documents.is_digest(root):
        return rows.none()
    path = Func(Value(f'$.*.{part} ? (@ == "{root}")'), template="%(expressions)s::jsonpath")
    return rows.filter(
        Func(F("cast_roots"), path, template="%(expressions)s", arg_joiner=" @? ", output_field=BooleanField())
    )


def find(name: str, viewer: Viewer) -> BaseModel | None:
    """Return the base model that a fingerprint or a name means, None where there is none for this viewer.

    A name without a namespace of ours, Hugging Face names included, is one of the library's; `acme/my-base`
    is then looked for in the namespace `acme`. A bare name falls through to nobody else's. What a name led to may be gone,
    gated or renamed: it means the same base until something else is called so.
    """
    bases = visible(viewer)
    if name.startswith("base:"):
        return bases.filter(pk=name).first()
    names = BaseAlias.objects.best_first()
    namespace, _, rest = name.partition("/")
    for rows in (names.filter(namespace=None, name=name), names.filter(namespace__name=namespace, name=rest)):
        alias = rows.first()
        base = bases.filter(pk=alias.base_id).first() if alias else None
        if base is not None:
            return base
    return None


def get(name: str, viewer: Viewer) -> BaseModel:
    """Return the base model that a fingerprint or a name means. Raises NotFound."""
    base = find(name, viewer)
    if base is not None:
        return base
    if located.find(name, viewer) is None:
        raise located.unknown(name)
    raise NotFound(f"The base model {name!r} {located.UNHASHED}.", hint=located.HASH_IT)


def search(text: str, viewer: Viewer, before: BaseModel | None = None) -> tuple[list[base_shapes.BaseModelShape], bool]:
    """Return the base models whose name, aliases or fingerprint hold this text, newest first, a page of them, and whether
    there are more. A page begins behind `before`."""
    bases = visible(viewer)
    if text:
        aliased = BaseAlias.objects.live().filter(name__icontains=text).values("base")
        bases = bases.filter(Q(name__icontains=text) | Q(pk__startswith=text) | Q(pk__in=aliased))
    found = bases.prefetch_related("aliases__namespace").select_related("owner").order_by("-created_at", "pk")
    if before is not None:
        found = found.filter(Q(created_at__lt=before.created_at) | Q(created_at=before.created_at, pk__gt=before.pk))
    rows = list(found[: PAGE + 1])
    page = rows[:PAGE]
    known = relations(page, viewer)
    return [_shape(base, known.get(base.pk, [])) for base in page], len(rows) > PAGE


def relations(bases: list[BaseModel], viewer: Viewer) -> dict[str, list[base_shapes.Relation]]:
    """Return what these base models are of others that the viewer may know of, by fingerprint; two queries for all."""
    keys, seen = {base.pk for base in bases}, visible(viewer).values("pk")
    rows = BaseRelation.objects.filter(Q(base__in=keys) | Q(parent__in=keys), base__in=seen, parent__in=seen)
    rows = rows.order_by("kind", "pk")
    named = refs({key for row in rows for key in (row.base_id, row.parent_id)}, viewer)
    found: dict[str, list[base_shapes.Relation]] = {}
    for row in rows:
        for key, other, direction in ((row.base_id, row.parent_id, "parent"), (row.parent_id, row.base_id, "child")):
            found.setdefault(key, []).append(
                {
                    "kind": row.kind,
                    "direction": direction,
                    "state": row.state,
                    "claimed_by": row.claimed_by,
                    "base_model": named[other],
                }
            )
    return found


def to_spec(base: BaseModel) -> spec.BaseModel:
    """Return the value that hub.spec works on."""
    leaves = [spec.Leaf(name, dtype, tuple(size), digest) for name, dtype, size, digest in base.tensors]
    value = spec.from_leaves(leaves, base.config, base.tokenizer_digest, shapes=base.logical)
    return dataclasses.replace(value, cast_roots=base.cast_roots)


def name_of(base: BaseModel) -> str:
    """Return the best name of a base model: its own, else one that the library gives it, else nothing.

    Whoever registers a base model first may name it: of one that has an owner the library's name comes before that. An alias
    in somebody's namespace is that person's word for it; anybody may have one for any base.
    """
    if base.name and base.owner_id is None:
        return base.name
    ours = [
        alias
        for alias in base.aliases.all()
        if alias.state != BaseAlias.State.RENAMED
        and alias.namespace_id is None
        and (alias.kind == BaseAlias.Kind.HUB if base.name else alias.kind != BaseAlias.Kind.STORED)
    ]
    return min(ours, key=lambda alias: alias.pk).name if ours else base.name


def alias_names(base: BaseModel) -> list[str]:
    """Return the live names of a base model, the library's first."""
    live = _live(base)
    live.sort(key=lambda alias: (alias.namespace_id is not None, alias.pk))
    return [f"{alias.namespace.name}/{alias.name}" if alias.namespace else alias.name for alias in live]


def _live(base: BaseModel) -> list[BaseAlias]:
    """The names that lead to it; that the hub holds its files is none."""
    return [
        alias
        for alias in base.aliases.all()
        if alias.state == BaseAlias.State.LIVE and alias.kind != BaseAlias.Kind.STORED
    ]


def locations(base: BaseModel) -> list[shapes.Location]:
    """Return where a base model is said to lie: hub ids, mirrors, folders, with what is known of each."""
    rows = sorted(base.aliases.all(), key=lambda alias: alias.pk)
    return [
        {"kind": row.kind, "name": row.name, "revision": row.revision, "state": row.state}
        for row in rows
        if row.namespace_id is None
    ]


def ref(base: BaseModel | None, viewer: Viewer) -> shapes.BaseRef | None:
    """Return a base model as others mention it; its name only to who may know of it."""
    if base is None:
        return None
    return {"fingerprint": base.pk, "name": name_of(base) if sees(viewer, base) else "", "state": base.state}


def refs(fingerprints: set[str], viewer: Viewer) -> dict[str, shapes.BaseRef]:
    """Return the mentions of many base models at once, by fingerprint; the name only of those the viewer may know of."""
    rows = BaseModel.objects.filter(pk__in=fingerprints).defer("config")
    found = list(rows.prefetch_related("aliases__namespace"))
    hidden = {row.pk for row in found if row.visibility != Visibility.PUBLIC}
    hidden -= set(visible(viewer).filter(pk__in=hidden).values_list("pk", flat=True)) if hidden else set()
    return {
        row.pk: {"fingerprint": row.pk, "name": "" if row.pk in hidden else name_of(row), "state": row.state}
        for row in found
    }


def trained_on(facts: dict[str, Any], base: BaseModel | None, viewer: Viewer) -> shapes.TrainedOn | None:
    """Return what an adapter's files say lay below in training, None where that is `base`, or nothing is said."""
    name = facts.get("trained_on")
    if not name:
        return None
    known = find(name, viewer)
    if known is not None and base is not None and known.pk == base.pk:
        return None
    return {
        "name": name,
        "quantised": bool(known.quantisation) if known is not None else quantised.guess(name),
        "guessed": facts.get("sources", {}).get("trained_on") == card.GUESSED,
        "base_model": ref(known, viewer),
    }


def shape(base: BaseModel, viewer: Viewer, *, leaves: bool = False) -> base_shapes.BaseModelShape:
    """Return a base model as the API shows it; with `leaves` its whole tensor table and configuration."""
    value = _shape(base, relations([base], viewer).get(base.pk, []))
    if leaves:
        value |= {"leaves": base.tensors, "config": base.config, "logical": base.logical}
    return value


def _shape(base: BaseModel, known: list[base_shapes.Relation]) -> base_shapes.BaseModelShape:
    config: dict[str, Any] = base.config
    return {
        "fingerprint": base.pk,
        "name": name_of(base),
        "state": base.state,
        "roots": base.roots,
        "architecture": base.architecture,
        "tokenizer_digest": base.tokenizer_digest,
        "parameters": base.parameters,
        "model_type": str(config.get("model_type", "")),
        "aliases": alias_names(base),
        "cast_roots": base.cast_roots,
        "quantisation": base.quantisation,
        "locations": locations(base),
        "owner": base.owner.name if base.owner else None,
        "relations": known,
        "tensors_url": f"/api/v1/base-models/{base.pk}?tensors=1",
        "url": page_url(base.pk),
    }


def page_url(fingerprint: str) -> str:
    """Return the page of a base model."""
    return f"/b/{fingerprint}"


def page_of(ref: shapes.BaseRef) -> str:
    """Return the page of a base model that is mentioned; one that is only located goes by its name."""
    return page_url(ref["fingerprint"] or ref["name"])
