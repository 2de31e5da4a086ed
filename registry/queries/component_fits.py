"""Adapters in sub-folders of one snapshot against a base model: the verdict on each of them alone.

One may fit where its neighbour does not, so a list shows, beside the verdict on the whole, that on each component, with what it
measured in the run that the verdict stands on.
"""

import dataclasses
from collections.abc import Iterable

from registry.models import Adapter, Component, Fit
from registry.queries import adapters, fits, shapes
from registry.queries.viewers import Viewer


@dataclasses.dataclass(frozen=True)
class Several:
    """An adapter whose shown snapshot holds more than one component, in the order of their folders."""

    key: int
    adapter_digest: str
    base_fingerprint: str
    components: tuple[Component, ...]


def several(keys: Iterable[int]) -> list[Several]:
    """Return those of these adapters that have more than one component; two queries for any number."""
    shown = Adapter.objects.filter(pk__in=list(keys)).exclude(digest=None)
    rows = list(shown.values_list("pk", "digest", "adapter_digest", "base_fingerprint"))
    found: dict[str, list[Component]] = {}
    components = Component.objects.filter(manifest__in={row[1] for row in rows}).order_by("folder")
    for component in components.select_related("need").only("manifest", "folder", "need__compared_at"):
        found.setdefault(component.manifest_id, []).append(component)
    return [
        Several(key, adapter_digest or "", base or "", tuple(found[digest]))
        for key, digest, adapter_digest, base in rows
        if digest and len(found.get(digest, [])) > 1
    ]


def verdicts(
    rows: list[Several], target: fits.Target, viewer: Viewer
) -> dict[int, list[shapes.ComponentCompatibility]]:
    """Return the verdicts on the components of these adapters on a registered base model, by the adapter's key."""
    if not rows:
        return {}
    needs = {component.need_id for row in rows for component in row.components}
    met = set(Fit.objects.filter(offer=target.offer, need__in=needs - {None}).values_list("need", flat=True))
    proofs = fits.proven_by({row.adapter_digest for row in rows} - {""}, target, viewer)
    scores = adapters.scores_of((proof.version for proof in proofs.values()), viewer)
    compared = fits.is_compared(target)
    found: dict[int, list[shapes.ComponentCompatibility]] = {}
    for row in rows:
        rank, proof = _best(row, proofs)
        found[row.key] = []
        for component in row.components:
            fitting = component.need_id in met
            ran_here = proof is not None and proof.version.base_fingerprint == target.fingerprint
            if proof is not None and (fitting or ran_here):
                told = fits.cell(rank, proof)
            elif row.base_fingerprint == target.fingerprint:
                told = fits.cell("declared", None)
            elif fitting:
                told = fits.cell("shape_only", None)
            else:
                told = _unfit(component, compared)
            found[row.key].append(
                fits.of_component(component.folder, told, proof if told["evidence"] else None, scores)
            )
    return found


def _best(row: Several, proofs: fits.Proofs) -> tuple[str, fits.Proof | None]:
    """The best rank that a run of the whole snapshot gives, and that run."""
    for place, rank in enumerate(fits.RANKS[: fits.DECLARED]):
        if proof := fits.proof_of(proofs, place, row.adapter_digest, row.key):
            return rank, proof
    return "declared", None


def _unfit(component: Component, compared: bool) -> shapes.Compatibility:
    """The verdict where no row says that it fits: proven only where both sides were held against each other."""
    known = compared and component.need is not None and component.need.compared_at is not None
    return {"level": "incompatible" if known else "unknown", "reasons": [], "evidence": None}
