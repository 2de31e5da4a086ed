"""Which base models are quantised from which, as far as their tensors tell."""

from django.db import connection, transaction
from django.db.models import QuerySet

from hub.spec import casts
from registry.models import BaseModel, BaseRelation
from registry.queries import base_models
from registry.services import events

MOST = 100
"""Candidates that are looked at for one base model: their tensor tables are read."""


@transaction.atomic
def note(*, base: BaseModel) -> int:
    """Record what a base model is quantised from, or what is quantised from it; return how many relations are new.

    What a packer leaves alone tells its parent (`hub.spec.casts.quantised_from`). It is `observed` where both base models
    are: then workers have hashed the bytes that were compared. Of leaves that somebody only sent it is a claim.
    """
    if base.quantisation and base.logical is None:
        return 0
    _queue_up(base)
    others = list(_candidates(base).order_by("-observed", "created_at", "pk")[:MOST])
    values = {row.pk: base_models.to_spec(row) for row in (base, *others)} if others else {}
    pairs = [(base, other) if base.quantisation else (other, base) for other in others]
    return sum(_relate(*pair) for pair in pairs if casts.quantised_from(*(values[row.pk] for row in pair)))


def _queue_up(base: BaseModel) -> None:
    """Wait for those of this architecture that are being written: of two that arrive at once, the second sees the first."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [f"kin {base.architecture}"])


def _candidates(base: BaseModel) -> QuerySet[BaseModel]:
    """The base models of this architecture, packed or not, with the same tables of embeddings or with a cast of them."""
    rows = BaseModel.objects.defer(None).filter(architecture=base.architecture)
    table = base.roots.get("embeddings", "")
    if base.quantisation:
        rows = rows.filter(quantisation="")
        return rows.filter(roots__embeddings=table) | base_models.cast_to(rows, "embeddings", table)
    tables = [table, *(parts["embeddings"] for parts in base.cast_roots.values() if "embeddings" in parts)]
    return rows.exclude(quantisation="").filter(roots__embeddings__in=tables)


def _relate(packed: BaseModel, parent: BaseModel) -> int:
    observed = packed.observed and parent.observed
    state = BaseRelation.State.OBSERVED if observed else BaseRelation.State.CLAIMED
    row, made = BaseRelation.objects.get_or_create(
        base=packed, parent=parent, kind=BaseRelation.Kind.QUANTISED, defaults={"state": state, "claimed_by": ""}
    )
    if not made and (not observed or row.state == state):
        return 0
    if not made:
        row.state = state
        row.save(update_fields=["state"])
    told = {"parent": parent.pk, "relation": row.kind, "state": state}
    events.record(actor="", kind="base.related", subject=packed.pk, **told)
    return int(made)
