"""Adapters: make one, describe it, count its pulls."""

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from hub.spec import reference
from hub.spec.errors import SpecError
from registry.errors import Conflict, Forbidden, Invalid, LookAlike
from registry.models import Adapter, Namespace, Role, Visibility
from registry.queries import resolve, shapes, versions, viewers
from registry.queries.viewers import Viewer
from registry.queries.visibility import get_adapter
from registry.services import events


@transaction.atomic
def create(*, viewer: Viewer, namespace: str, name: str, private: bool = False, description: str = "") -> Adapter:
    """Make an adapter without a version. Raises Forbidden, Invalid, LookAlike, Conflict where it is there already."""
    home = viewers.require_writer(viewer, namespace)
    if Adapter.objects.live().filter(namespace=home, name=name).exists():
        raise Conflict(f"{namespace}/{name} is there already.", hint="Push to it: no need to make it first.")
    adapter = ensure(viewer=viewer, home=home, name=name, private=private)
    if description:
        adapter.description = description
        adapter.save(update_fields=["description"])
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
    rows = Adapter.objects.select_for_update(of=("self",)).select_related("namespace")
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
    """Change description or visibility. Raises NotFound for who may not see it, Forbidden for who may not write."""
    adapter = get_adapter(namespace, name, viewer)
    viewers.require_writer(viewer, namespace)
    adapter = Adapter.objects.select_for_update(of=("self",)).select_related("namespace").get(pk=adapter.pk)
    if description is not None:
        adapter.description = description
    if private is not None:
        adapter.visibility = Visibility.PRIVATE if private else Visibility.PUBLIC
    adapter.save(update_fields=["description", "visibility"])
    events.record(actor=viewer.name, kind="adapter.changed", subject=str(adapter), visibility=adapter.visibility)
    return adapter


def refresh(*, adapter: Adapter, news: bool = False) -> None:
    """Bring the columns that searches look at in line with the version that `latest` names (else with the newest).

    Only `news`, something that is served from now on, moves the adapter to the head of the lists.
    """
    latest = versions.latest_of([adapter]).get(adapter.pk)
    shown = latest or adapter.versions.exclude(digest=None).newest_first().first()
    if shown is None:
        return
    if news:
        adapter.updated_at = timezone.now()
    components = versions.components_of(shown.digest)
    facts = versions.facts_of(components)
    Adapter.objects.filter(pk=adapter.pk).update(
        task=facts.get("task") or "",
        method=components[0].method if components else "",
        description=(facts.get("description") or adapter.description)[:4000],
        base_fingerprint=shown.base_fingerprint,
        updated_at=adapter.updated_at,
    )


def resolve_for_pull(*, viewer: Viewer, ref: str, base: str | None) -> shapes.Resolved:
    """Answer a reference for a pull and count it. Raises what queries.resolve raises."""
    found = resolve.resolve(ref, viewer, base=base)
    pulled = Adapter.objects.filter(namespace__name=found["namespace"], name=found["name"])
    pulled.update(pulls=F("pulls") + 1)
    return found
