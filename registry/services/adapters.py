"""Adapters: make one, describe it, count its pulls."""

from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from hub.spec import reference
from hub.spec.errors import SpecError
from registry.errors import Conflict, Forbidden, Invalid, LookAlike
from registry.models import Adapter, Namespace, Pull, Role, Visibility
from registry.queries import resolve, shapes, versions, viewers
from registry.queries.viewers import Viewer
from registry.queries.visibility import get_adapter
from registry.services import events

LONGEST_DESCRIPTION = 4000


@transaction.atomic
def create(*, viewer: Viewer, namespace: str, name: str, private: bool = False, description: str = "") -> Adapter:
    """Make an adapter without a version. Raises Forbidden, Invalid, LookAlike, Conflict where it is there already."""
    home = viewers.require_writer(viewer, namespace)
    if Adapter.objects.live().filter(namespace=home, name=name).exists():
        raise Conflict(f"{namespace}/{name} is there already.", hint="Push to it: no need to make it first.")
    adapter = ensure(viewer=viewer, home=home, name=name, private=private)
    if description:
        adapter.own_description = adapter.description = description
        adapter.save(update_fields=["own_description", "description"])
    return adapter


@transaction.atomic
def ensure(*, viewer: Viewer, home: Namespace, name: str, private: bool = False) -> Adapter:
    """Return the adapter of this name, made if it is missing, its row locked. The viewer may write in `home`.

    `private` asks for a private adapter: Conflict where a public one is there (what was meant to be private must not
    be published by mistake). Raises Invalid, LookAlike.
    """
    try:
        reference.check_name(name)
    except SpecError as error:
        raise Invalid.from_spec(error) from None
    adapter = _locked(home, name) or _make(viewer, home, name, private)
    if adapter.deleted_at is not None:
        return _revive(viewer, adapter, private)
    if private and adapter.visibility == Visibility.PUBLIC:
        raise Conflict(
            f"{home.name}/{name} is public, and you asked for a private push.",
            hint="Push without --private, choose another name, or make the adapter private first.",
        )
    return adapter


def _locked(home: Namespace, name: str) -> Adapter | None:
    rows = Adapter.objects.select_for_update(of=("self",), no_key=True).select_related("namespace")
    return rows.filter(namespace=home, name=name).first()


def _make(viewer: Viewer, home: Namespace, name: str, private: bool) -> Adapter:
    visibility = Visibility.PRIVATE if private else Visibility.PUBLIC
    try:
        with transaction.atomic():
            adapter = Adapter.objects.create(namespace=home, name=name, visibility=visibility)
    except IntegrityError as error:
        if "looks_like_no_other" not in str(error):
            raise Invalid(f"{name!r} is not a name for an adapter.") from None
        same = _locked(home, name)  # made by somebody else a moment ago
        if same is None:
            raise _look_alike(home, name) from None
        return same
    events.record(actor=viewer.name, kind="adapter.created", subject=f"{home.name}/{name}", visibility=visibility)
    return adapter


def _look_alike(home: Namespace, name: str) -> LookAlike:
    skeleton = reference.skeleton_strong if home.kind == Namespace.Kind.LIBRARY else reference.skeleton_mild
    names = Adapter.objects.filter(namespace=home).values_list("name", flat=True)
    other = next((other for other in names if skeleton(other) == skeleton(name)), "another name there")
    return LookAlike(
        f"{home.name}/{name} looks like {home.name}/{other}.",
        hint=f"Push to {home.name}/{other}, or choose another name.",
    )


def _revive(viewer: Viewer, adapter: Adapter, private: bool) -> Adapter:
    """A deleted name is made again by an owner of its namespace only; its numbering goes on."""
    if viewers.role_in(viewer, adapter.namespace) != Role.OWNER:
        raise Forbidden(f"{adapter} was deleted; only an owner of the namespace can make it again.")
    adapter.deleted_at = None
    adapter.visibility = Visibility.PRIVATE if private else Visibility.PUBLIC
    adapter.save(update_fields=["deleted_at", "visibility"])
    events.record(actor=viewer.name, kind="adapter.revived", subject=str(adapter))
    return adapter


@transaction.atomic
def change(
    *, viewer: Viewer, namespace: str, name: str, description: str | None = None, private: bool | None = None
) -> Adapter:
    """Change description or visibility. Raises NotFound for who may not see it, Forbidden for who may not write.

    An empty description gives the word back to the README.
    """
    adapter = get_adapter(namespace, name, viewer)
    viewers.require_writer(viewer, namespace)
    rows = Adapter.objects.select_for_update(of=("self",), no_key=True).select_related("namespace")
    adapter = rows.get(pk=adapter.pk)
    if description is not None:
        adapter.own_description = adapter.description = description
    if private is not None:
        adapter.visibility = Visibility.PRIVATE if private else Visibility.PUBLIC
    adapter.save(update_fields=["own_description", "description", "visibility"])
    if description is not None:
        refresh(adapter=adapter)
    events.record(actor=viewer.name, kind="adapter.changed", subject=str(adapter), visibility=adapter.visibility)
    return adapter


@transaction.atomic
def refresh(*, adapter: Adapter, news: bool = False) -> None:
    """Bring the columns that searches look at in line with the version that `latest` names.

    Where it names none, with the newest that is served all the same (every one is yanked); where none is served, they are
    empty: strangers read these columns, and what was never published is no business of theirs. What the publisher says of
    it counts before what the README says. Only `news`, something that is served from now on, moves the adapter to the head
    of the lists.
    """
    adapter = _row(adapter)
    latest = versions.latest_of([adapter]).get(adapter.pk)
    shown = latest or adapter.versions.served().newest_first().first()
    components = versions.components_of(shown.digest if shown else None)
    facts = versions.facts_of(components)
    changes: dict[str, Any] = {"updated_at": timezone.now()} if news else {}
    Adapter.objects.filter(pk=adapter.pk).update(
        task=facts.get("task") or "",
        method=components[0].method if components else "",
        description=(adapter.own_description or facts.get("description") or "")[:LONGEST_DESCRIPTION],
        base_fingerprint=shown.base_fingerprint if shown else None,
        digest=shown.digest if shown else None,
        adapter_digest=shown.adapter_digest if shown else None,
        **changes,
    )


def _row(adapter: Adapter) -> Adapter:
    """Return the adapter as it is now, locked: of two that refresh it at once, the second must see what the first did."""
    return Adapter.objects.select_for_update(no_key=True).defer("search").get(pk=adapter.pk)


def resolve_for_pull(*, viewer: Viewer, ref: str, base: str | None) -> shapes.Resolved:
    """Answer a reference for a pull and note it, to be counted (`count_pulls`). Raises what queries.resolve raises."""
    found = resolve.resolve(ref, viewer, base=base)
    pulled = Adapter.objects.filter(namespace__name=found["namespace"], name=found["name"])
    Pull.objects.bulk_create(Pull(adapter_id=pk) for pk in pulled.values_list("pk", flat=True))
    return found


@transaction.atomic
def count_pulls(*, limit: int = 100) -> int:
    """Add the pulls noted since the last round to their adapters; return how many. For the relay.

    An adapter that somebody holds is left for the next round, so that nobody waits here in the wrong order.
    """
    pulled = Pull.objects.values("adapter")
    free = Adapter.objects.filter(pk__in=pulled).select_for_update(skip_locked=True, no_key=True)
    total = 0
    for pk in list(free.values_list("pk", flat=True)[:limit]):
        n = Pull.objects.filter(adapter=pk).delete()[0]
        Adapter.objects.filter(pk=pk).update(pulls=F("pulls") + n)
        total += n
    return total
