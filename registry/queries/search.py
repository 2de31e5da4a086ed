"""Finding adapters. The page, the API and the command line build the same `SearchQuery`."""

import base64
import binascii
import dataclasses
import datetime
import json
import math
from collections.abc import Callable
from typing import Any

from django.db.models import Case, Exists, F, FloatField, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.fields.json import KT
from django.db.models.functions import Cast

from hub.spec import documents
from hub.spec.errors import SpecError
from registry.errors import BadRequest
from registry.models import Adapter, Component, Score, Version
from registry.models.adapters import AdapterQuerySet
from registry.models.versions import VersionQuerySet
from registry.queries import adapters, base_models, benchmarks, fits, located, shapes
from registry.queries.versions import LATEST_FIRST
from registry.queries.viewers import Viewer
from registry.queries.visibility import visible_adapters

SORTS = ("recent", "pulls", "size", "score", "gain", "name")
INDEXED = ("recent", "pulls")
"""The orders by a column of the adapter that is never null and has an index in just this order."""
STATUSES = ("published", "hosted", "validating", "rejected", "draft")
PAGE = 50
LONGEST = 256


@dataclasses.dataclass(frozen=True)
class SearchQuery:
    """What is looked for. An empty field asks for nothing.

    With a `base`, what fits it is found, best `level` first and within a level by `sort`; with `made_for`, what was
    published for that base model.
    """

    q: str = ""
    base: str = ""
    made_for: str = ""
    task: str = ""
    benchmark: str = ""
    method: str = ""
    status: str = ""
    namespace: str = ""
    level: str = ""
    sort: str = "recent"
    cursor: str = ""
    limit: int = PAGE

    def __post_init__(self) -> None:
        if self.sort not in SORTS:
            raise BadRequest(f"There is no order {self.sort!r}.", hint=f"One of: {', '.join(SORTS)}.")
        if self.status and self.status not in STATUSES:
            raise BadRequest(f"There is no status {self.status!r}.", hint=f"One of: {', '.join(STATUSES)}.")
        if self.level and self.level not in fits.LEVELS:
            raise BadRequest(f"There is no level {self.level!r}.", hint=f"One of: {', '.join(fits.LEVELS)}.")
        if any("\x00" in str(value) for value in dataclasses.astuple(self)):
            raise BadRequest("The query holds a NUL.", hint="Leave the character out.")
        if len(self.q) > LONGEST:
            raise BadRequest(f"The query is longer than {LONGEST} characters.")


@dataclasses.dataclass(frozen=True)
class Found:
    """A page of adapters, and the cursor of the next one ('' at the end)."""

    results: list[shapes.Summary]
    cursor: str


def search(query: SearchQuery, viewer: Viewer, target: fits.Target | None = None) -> Found:
    """Return a page of the adapters that match, of those the viewer may know of. `target`: a base that has no name here."""
    if query.base:
        target = _target(query.base, viewer)
        if target is None:
            return Found([], "")
    rows = _ordered(_matching(query, viewer, target), query, viewer, *([F("rank").asc()] if target is not None else []))
    rows = rows.select_related("namespace").defer("search")
    size = max(1, min(query.limit, PAGE))
    page = list(_after(rows, query, ranked=target is not None)[: size + 1])
    more = _cursor(page[size - 1]) if len(page) > size else ""
    return Found(_shown(page[:size], target, viewer), more)


def matching(query: SearchQuery, viewer: Viewer) -> AdapterQuerySet:
    """Return all adapters that `search` would find, page by page, in no order."""
    target = _target(query.base, viewer) if query.base else None
    if query.base and target is None:
        return Adapter.objects.none()
    return _matching(query, viewer, target)


def _target(base: str, viewer: Viewer) -> fits.Target | None:
    found = base_models.find(base, viewer)
    if found is not None:
        return fits.of_base(found, viewer)
    row = located.find(base, viewer)
    return fits.of_located(row) if row is not None else None


def _matching(query: SearchQuery, viewer: Viewer, target: fits.Target | None) -> AdapterQuerySet:
    rows = _filtered(query, viewer)
    if target is not None:
        rows = fits.ranked(rows, target, viewer)
        rows = fits.at_level(rows, query.level) if query.level else rows
    return rows


def _shown(page: list[Adapter], target: fits.Target | None, viewer: Viewer) -> list[shapes.Summary]:
    found = adapters.summaries(page, viewer)
    if target is not None:
        ranks = {row.pk: (row.rank, row.adapter_digest) for row in page}  # type: ignore[attr-defined]
        verdicts = fits.shown(ranks, target, viewer)
        for row, summary in zip(page, found, strict=True):
            summary["compatibility"] = verdicts[row.pk]
    return found


def _filtered(query: SearchQuery, viewer: Viewer) -> AdapterQuerySet:
    rows = visible_adapters(viewer)
    if query.q.strip():
        rows = rows.matching(query.q) | rows.filter(name__icontains=query.q.strip())
    if query.namespace:
        rows = rows.filter(namespace__name=query.namespace)
    if query.made_for:
        made_for = base_models.find(query.made_for, viewer)
        rows = rows.filter(base_fingerprint=made_for.pk if made_for else query.made_for)
    if query.task:
        rows = rows.filter(task=query.task)
    if query.method:
        rows = rows.filter(Q(method=query.method) | Exists(_components(query.method)))
    if query.benchmark:
        rows = rows.filter(Exists(_scores(query.benchmark, viewer)))
    if query.status:
        rows = rows.filter(Exists(Version.objects.filter(adapter=OuterRef("pk"), status=query.status)))
        if query.status not in ("published", "hosted"):
            rows = _own(rows, viewer)
    return rows


def _own(rows: AdapterQuerySet, viewer: Viewer) -> AdapterQuerySet:
    """Unpublished versions are their namespace's own business."""
    if viewer.is_admin:
        return rows
    return rows.filter(namespace__memberships__user=viewer.person) if viewer.person else rows.none()


def _latest() -> VersionQuerySet:
    return Version.objects.offered().filter(adapter=OuterRef("pk")).order_by(*LATEST_FIRST)


def _components(method: str) -> QuerySet[Component]:
    """The components of the latest version with this method or variant."""
    latest = Version.objects.offered().filter(adapter=OuterRef(OuterRef("pk"))).order_by(*LATEST_FIRST)
    rows = Component.objects.filter(manifest=Subquery(latest.values("digest")[:1]))
    return rows.filter(Q(method=method) | Q(variant=method))


def _scores(benchmark: str, viewer: Viewer) -> QuerySet[Score]:
    """The scores of the latest version, on a benchmark (a name means all of that name, `sha256:<hex>` one) or on any, of those
    that the viewer may see."""
    latest = Version.objects.offered().filter(adapter=OuterRef(OuterRef("pk"))).order_by(*LATEST_FIRST)
    rows = Score.objects.filter(run=Subquery(latest.values("run")[:1]), benchmark__in=benchmarks.visible(viewer))
    if digest := benchmark.removeprefix("sha256:") if benchmark.startswith("sha256:") else "":
        return rows.filter(benchmark=digest)
    return rows.filter(benchmark__name=benchmark) if benchmark else rows


def _ordered(rows: AdapterQuerySet, query: SearchQuery, viewer: Viewer, *first: Any) -> AdapterQuerySet:
    """Annotate `key`, the value that the order goes by, and sort: highest first (names: lowest), unknown last."""
    if query.sort == "name":
        return rows.annotate(key=F("name")).order_by(*first, "key", "pk")
    keys: dict[str, Any] = {
        "recent": F("updated_at"),
        "pulls": F("pulls"),
        "size": Subquery(_latest().values("manifest__size")[:1]),
        "score": Subquery(_best(query.benchmark, "score", viewer)),
        "gain": Subquery(_best(query.benchmark, "gain", viewer)),
    }
    # A column that is never null goes without NULLS LAST: only so is the order that of its index.
    unknown_last = True if query.sort not in INDEXED else None
    return rows.annotate(key=keys[query.sort]).order_by(*first, F("key").desc(nulls_last=unknown_last), "-pk")


def _best(benchmark: str, what: str, viewer: Viewer) -> QuerySet[Score, Any]:
    """The best score (or gain) of the latest version; where low is good, its negative."""
    value = F("value") if what == "score" else Cast(KT("gain__value"), FloatField())
    good = Case(When(direction="down", then=Value(-1.0)), default=Value(1.0), output_field=FloatField())
    rows = _scores(benchmark, viewer).annotate(good=good * value).exclude(good=None)
    return rows.order_by("-good").values("good")[:1]


def _after(rows: AdapterQuerySet, query: SearchQuery, *, ranked: bool = False) -> AdapterQuerySet:
    """Keep what stands behind the cursor: further in the order, or (where there are ranks) of a later rank."""
    if not query.cursor:
        return rows
    key, pk, *rank = _read_cursor(query, ranked=ranked)
    behind = _behind(query, key, pk)
    return rows.filter(Q(rank__gt=rank[0]) | Q(behind, rank=rank[0]) if ranked else behind)


def _behind(query: SearchQuery, key: Any, pk: int) -> Q:
    if query.sort == "name":
        return Q(name__gt=key) | Q(name=key, pk__gt=pk)
    if key is None:
        return Q(key=None, pk__lt=pk)
    if query.sort in INDEXED:
        return Q(Q(key__lte=key), Q(key__lt=key) | Q(pk__lt=pk))
    return Q(key__lt=key) | Q(key=key, pk__lt=pk) | Q(key=None)


def _cursor(row: Adapter) -> str:
    key = row.key  # type: ignore[attr-defined]
    value = key.isoformat() if isinstance(key, datetime.datetime) else key
    place = [value, row.pk, *([row.rank] if hasattr(row, "rank") else [])]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):  # `nan` and `inf` may come as text
        raise ValueError(value)
    return number


def _moment(value: Any) -> datetime.datetime:
    moment = datetime.datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError(value)
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


_KEYS: dict[str, Callable[[Any], Any]] = {
    "recent": _moment,
    "pulls": _whole,
    "size": _finite,
    "score": _finite,
    "gain": _finite,
    "name": _text,
}


def _read_cursor(query: SearchQuery, *, ranked: bool) -> tuple[Any, ...]:
    """(key, primary key), and behind them the rank where there are ranks. Raises BadRequest."""
    try:
        padded = query.cursor + "=" * (-len(query.cursor) % 4)
        key, *numbers = documents.loads_json(
            base64.urlsafe_b64decode(padded.encode("ascii")), where="cursor", max_bytes=2000
        )
        if key is None and query.sort in (*INDEXED, "name"):
            raise ValueError(key)
        if key is not None:
            key = _KEYS[query.sort](key)
        if len(numbers) != 1 + ranked:
            raise ValueError(numbers)
        numbers = [_whole(number) for number in numbers]
    except (ValueError, TypeError, OverflowError, binascii.Error, SpecError):
        raise BadRequest("The cursor cannot be read.", hint="Begin again without it.") from None
    return key, *numbers
