"""Which base model? The ones of this hub that an adapter fits by its shapes, best first."""

from collections.abc import Iterable

from django.db.models import Count, Q, QuerySet

from hub.spec.components import Component
from hub.spec.errors import Problem
from registry.models import BaseModel, LocatedBase, Namespace, Offer, Visibility
from registry.models.fits import Sizes, split
from registry.queries import base_models, fits, located, shapes
from registry.queries.viewers import Viewer

SHOWN = 5
HUB_JSON_BASE = "hub.json: base"


def of(components: Iterable[Component], viewer: Viewer, *, home: Namespace | None = None) -> list[shapes.BaseRef]:
    """Return the base models that all these adapters fit: observed before claimed before located, then by the number of
    adapters that were published on them, then by name. Empty where the files do not tell what they need.

    With `home`, only what every member of that namespace may know of: a report is read by all of them.
    """
    return of_needs([component.needs for component in components], viewer, home=home)


def of_needs(needs: list[Sizes], viewer: Viewer, *, home: Namespace | None = None) -> list[shapes.BaseRef]:
    """Return the same of what adapters need: sizes by module, under the empty path those of the whole model."""
    if not needs or not all(needs):
        return []
    offers = Offer.objects.all()
    for need in needs:
        offers = offers.meeting(*split(need))
    keys = set(offers.values_list("pk", flat=True))
    found = [base_models.ref(base, viewer) for base in _registered(keys, viewer, home)]
    rows = _located(keys, viewer, home)
    return [one for one in found if one is not None] + [located.ref(row) for row in rows[: SHOWN - len(found)]]


def _registered(offers: set[int], viewer: Viewer, home: Namespace | None) -> list[BaseModel]:
    rows = base_models.visible(viewer).filter(offer__in=offers)
    if home is not None:
        rows = rows.filter(Q(visibility=Visibility.PUBLIC) | Q(owner=home))
    proven, claimed = _proven(rows, viewer), BaseModel.State.CLAIMED
    named = list(rows.defer("config").prefetch_related("aliases__namespace"))
    named.sort(key=lambda row: (row.state == claimed, -proven.get(row.pk, 0), base_models.name_of(row) or "~", row.pk))
    return named[:SHOWN]


def _proven(rows: QuerySet[BaseModel], viewer: Viewer) -> dict[str, int]:
    found = fits.proofs(rows.values_list("pk", flat=True), viewer).order_by().values_list("base_fingerprint")
    return {key or "": count for key, count in found.annotate(count=Count("adapter", distinct=True))}


def _located(offers: set[int], viewer: Viewer, home: Namespace | None) -> QuerySet[LocatedBase]:
    rows = located.visible(viewer).filter(offer__in=offers).defer("tensors")
    if home is not None:
        rows = rows.filter(Q(visibility=Visibility.PUBLIC) | Q(namespace=home))
    return rows.order_by("name", "pk")


def advise(problems: tuple[Problem, ...], found: list[shapes.BaseRef]) -> tuple[Problem, ...]:
    """Return the problems with the proposals in the hint of each that asks for a base model."""
    hint = told(found)
    if not hint:
        return problems
    return tuple(
        Problem(one.code, one.where, one.message, hint if one.code == "no_base" else f"{hint} {one.hint}", one.check)
        if one.code in ("no_base", "unknown_base") or one.where == HUB_JSON_BASE
        else one
        for one in problems
    )


def told(found: list[shapes.BaseRef]) -> str:
    """Return the proposals as a sentence, nothing where there are none."""
    words = [one["name"] or one["fingerprint"] or "" for one in found]
    return f"It fits {', '.join(words)}: push with --base {words[0]}." if words else ""
