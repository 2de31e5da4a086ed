"""Many adapters against several base models at once: the cells of a matrix and the counts above its columns.

`fits.ranked` puts the rule into SQL, for lists that are cut into pages there. Asked once a base model it costs as often what
the database needs for all adapters of the hub. Here what the rule needs is read once (`facts`), and ranks follow from it.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from django.db.models import Q

from registry.models import Component, Fit
from registry.models.adapters import AdapterQuerySet
from registry.queries import component_fits, fits, shapes
from registry.queries.fits import Target
from registry.queries.viewers import Viewer
from registry.queries.visibility import visible_adapters


class Row(NamedTuple):
    """What the rule looks at of an adapter: its primary key, the manifest it shows, its weights, and the base it was published for."""

    pk: int
    digest: str | None
    adapter_digest: str | None
    base_fingerprint: str | None


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known of some adapters on some base models.

    `proven`: by adapter digest, the bases it was published on. `needs`: by manifest, the need of each of its components
    (None where it is not known). `met`: the pairs (offer, need) that fit.
    """

    rows: tuple[Row, ...]
    proven: dict[str, set[str]]
    needs: dict[str, list[int | None]]
    met: set[tuple[int, int]]

    def rank(self, row: Row, target: Target) -> int | None:
        """Return the place in `fits.RANKS` of this adapter on this base model, None where it does not fit."""
        bases = self.proven.get(row.adapter_digest or "", set())
        declared = bool(target.fingerprint) and row.base_fingerprint == target.fingerprint
        if not (target.fingerprint in bases or declared or self._fits(row, target)):
            return None
        proof = next((place for place, kin in enumerate(target.by_rank) if bases & kin), None)
        if proof is not None:
            return proof
        return fits.DECLARED if declared else fits.SHAPE_ONLY

    def _fits(self, row: Row, target: Target) -> bool:
        needs = self.needs.get(row.digest or "", [])
        return bool(needs) and all((target.offer, need) in self.met for need in needs)


def facts(adapters: AdapterQuerySet, targets: Sequence[Target], viewer: Viewer) -> Facts:
    """Read what `Facts.rank` needs, of these adapters on these registered or located base models: four queries."""
    rows = tuple(Row(*row) for row in adapters.order_by().values_list(*Row._fields))
    proven: dict[str, set[str]] = defaultdict(set)
    proofs = fits.proofs(_bases(targets), viewer).filter(
        adapter_digest__in=adapters.order_by().values("adapter_digest")
    )
    for adapter_digest, base in proofs.values_list("adapter_digest", "base_fingerprint").distinct():
        proven[adapter_digest or ""].add(base or "")
    needs: dict[str, list[int | None]] = defaultdict(list)
    components = Component.objects.filter(manifest__in=adapters.order_by().values("digest"))
    for manifest, need in components.values_list("manifest", "need"):
        needs[manifest].append(need)
    known = {need for found in needs.values() for need in found}
    pairs = Fit.objects.filter(offer__in={target.offer for target in targets} - {None}, need__in=known - {None})
    return Facts(rows, dict(proven), dict(needs), set(pairs.values_list("offer", "need")))


def cells(keys: Collection[int], targets: Sequence[Target], viewer: Viewer) -> list[dict[int, shapes.Compatibility]]:
    """Return a column for each base model: the verdict on each of these adapters, by its key.

    An adapter that the viewer may not see (any more) is in no column.
    """
    known = facts(visible_adapters(viewer).filter(pk__in=list(keys)), targets, viewer)
    seen = {row.pk for row in known.rows}
    several, settled = component_fits.several(seen), fits.compared(seen)
    return [_column(known, several, settled, target, viewer) for target in targets]


def _column(
    known: Facts, several: list[component_fits.Several], settled: set[int], target: Target, viewer: Viewer
) -> dict[int, shapes.Compatibility]:
    ranks = {row.pk: (known.rank(row, target), row.adapter_digest) for row in known.rows}
    fitting: dict[int, Any] = {key: found for key, found in ranks.items() if found[0] is not None}
    found = fits.shown(fitting, target, viewer)
    others = set(ranks) - set(fitting)
    if not (others and fits.is_compared(target)):
        settled = set()
    for key in others:
        level = "incompatible" if key in settled else "unknown"
        found[key] = {"level": level, "reasons": [], "evidence": None}
    for key, components in component_fits.verdicts(several, target, viewer).items():
        found[key]["components"] = components
    return found


def counts(targets: Sequence[Target], viewer: Viewer) -> list[dict[str, int]]:
    """Return for each base model how many adapters, of those the viewer may know of, are at each level.

    Most adapters have nothing to do with these bases but their shapes: those are counted by the database, once for all bases
    that offer the same.
    """
    seen = visible_adapters(viewer)
    own = {target.fingerprint for target in targets} - {""}
    ours = Q(adapter_digest__in=fits.digests(_bases(targets), viewer)) | Q(base_fingerprint__in=own)
    known = facts(seen.filter(ours), targets, viewer)
    shaped = {
        target.offer: seen.exclude(ours).filter(fits.fitting(target)).count()
        for target in {target.offer: target for target in targets if target.offer}.values()
    }
    found = []
    for target in targets:
        told: dict[str, int] = dict.fromkeys(fits.LEVELS, 0)
        for row in known.rows:
            if (rank := known.rank(row, target)) is not None:
                told[fits.level_of(fits.RANKS[rank])] += 1
        told["shape_only"] += shaped.get(target.offer, 0)
        found.append(told)
    return found


def _bases(targets: Sequence[Target]) -> set[str]:
    return {base for target in targets for bases in target.by_rank for base in bases}
