"""Needs and offers: written once, and each pair of them held against each other once.

Whichever of a pair was committed last sees the other when its own comparison begins, so that no pair is missed. A
comparison is one statement and may be killed, repeated or done by two at once: the outcome is the same.
"""

import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from hub.spec import base_model, components, documents, validation
from hub.spec.base_model import layer_of
from registry.models import BaseModel, Component, Manifest, Need, Offer
from registry.models.fits import Sizes, meeting, met_by, split
from registry.queries import base_models, blobs
from registry.services import contents, kin, outbox

BATCH = 500


@transaction.atomic
def need_of(*, component: components.Component) -> Need | None:
    """Return the row of what an adapter needs, made if it is new; None where its files do not tell."""
    if not component.needs:
        return None
    modules, whole = split(component.needs)
    row, made = Need.objects.get_or_create(
        digest=documents.digest({"needs": component.needs}),
        defaults={"modules": modules, "whole": whole, "probe": _probe(modules)},
    )
    if made:
        outbox.hint_comparison(row.digest)
    return row


@transaction.atomic
def offer_of(*, base: base_model.BaseModel) -> Offer:
    """Return the row of what a base model offers, made if it is new."""
    modules, whole = split(base.offers)
    row, made = Offer.objects.get_or_create(
        digest=documents.digest({"offers": base.offers}), defaults={"modules": modules, "whole": whole}
    )
    if made:
        outbox.hint_comparison(row.digest)
    return row


def columns_of(*, base: base_model.BaseModel) -> dict[str, Any]:
    """Return the columns of a base model that follow from its leaves, its configuration and the shapes it was told."""
    shapes = None if base.logical is None else {name: list(shape) for name, shape in base.logical.items()}
    return {
        "architecture": base.architecture,
        "parameters": base.parameters,
        "quantisation": base.quantisation or "",
        "logical": shapes,
        "offer": offer_of(base=base),
    }


def _probe(modules: Sizes) -> str:
    """Return one size as a word. Of the last layer: a model without so many layers is told apart at once, too."""
    known = [path for path, own in modules.items() if own]
    if not known:
        return ""
    path = max(known, key=lambda path: (layer_of(path) or 0, path))
    name = min(modules[path])
    return f"{path} {name} {modules[path][name]}"


@transaction.atomic
def compare(*, digest: str) -> bool:
    """Hold a need against every offer, or an offer against every need, and note what fits. False: nothing was to be done."""
    for kind, insert, condition in (
        (Need, "SELECT %s, registry_offer.id FROM registry_offer", meeting),
        (Offer, "SELECT registry_need.id, %s FROM registry_need", met_by),
    ):
        row: Any = kind._default_manager.filter(digest=digest, compared_at=None).first()
        if row is None:
            continue
        sql, params = condition(row.modules, row.whole)
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO registry_fit (need_id, offer_id) {insert} WHERE {sql} ORDER BY id ON CONFLICT DO NOTHING",
                [row.pk, *params],
            )
        kind._default_manager.filter(pk=row.pk).update(compared_at=Now())
        return True
    return False


def waiting(seconds: int, limit: int) -> list[str]:
    """Return the digests of needs and offers that wait since so many seconds to be compared."""
    found: list[str] = []
    for kind in (Need, Offer):
        rows = kind._default_manager.filter(
            compared_at=None, created_at__lte=Now() - datetime.timedelta(seconds=seconds)
        )
        found += rows.order_by("pk").values_list("digest", flat=True)[: limit - len(found)]
    return found


def note_missing() -> dict[str, int]:
    """Derive what an earlier edition of this hub did not note, and compare what waits; return how many rows of each.

    Begun again it goes on; there is nothing to do the second time.
    """
    return {
        "base models": sum(map(_note_base, _undescribed().values_list("pk", flat=True))),
        "components": sum(map(_note_component, Component.objects.filter(need=None).values_list("pk", flat=True))),
        "weights files": sum(contents.note(manifest=row) for row in _unread()),
        "relations": sum(kin.note(base=row) for row in BaseModel.objects.exclude(quantisation="")),
        "comparisons": _compare_waiting(),
    }


def _undescribed() -> QuerySet[BaseModel]:
    """The base models of which it is not noted what they offer, or how they are quantised."""
    return BaseModel.objects.filter(Q(offer=None) | Q(quantisation="", config__has_key="quantization_config"))


def _unread() -> QuerySet[Manifest]:
    """The manifests of adapters with a weights file of which nobody has noted what it says."""
    return Manifest.objects.filter(
        components__isnull=False, files__path__endswith=".safetensors", files__blob__content=None
    ).distinct()


def _compare_waiting() -> int:
    done = 0
    while batch := waiting(0, BATCH):
        done += sum(compare(digest=digest) for digest in batch)
    return done


@transaction.atomic
def _note_base(key: str) -> int:
    base = BaseModel.objects.select_for_update(of=("self",)).get(pk=key)
    columns = columns_of(base=base_models.to_spec(base))
    if all(getattr(base, name) == value for name, value in columns.items()):
        return 0
    return BaseModel.objects.filter(pk=key).update(**columns)


def _note_component(key: int) -> int:
    row = Component.objects.get(pk=key)
    if "component" not in row.facts:
        return 0
    need = need_of(component=components.Component.from_json(row.facts["component"])) or _need_of_files(row)
    return Component.objects.filter(pk=key, need=None).update(need=need) if need is not None else 0


def _need_of_files(row: Component) -> Need | None:
    """Read an adapter's files once more: an earlier edition may not have known what its method needs."""
    files = {file.path: (file.blob_id, file.size) for file in blobs.files_of(row.manifest_id)}
    base = BaseModel.objects.filter(pk=row.base_fingerprint).first()
    found = validation.inspect(blobs.StoredSnapshot(files), base_models.to_spec(base) if base else None)
    same = [part for part in found.components if (part.folder, part.method) == (row.folder, row.method)]
    return need_of(component=same[0]) if same else None
