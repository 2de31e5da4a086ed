"""Base models: register by their leaves, give them names."""

from typing import Any

from django.db import transaction
from django.utils import timezone

from hub.spec import base_model as spec
from hub.spec.errors import SpecError
from registry.errors import Conflict, Forbidden, Invalid, NotFound
from registry.models import BaseAlias, BaseModel, Event, Namespace, Scope
from registry.queries import base_models, viewers
from registry.queries.viewers import Viewer
from registry.services import events, fits, kin, namespaces

KINDS = (BaseAlias.Kind.HUB.value, BaseAlias.Kind.MIRROR.value, BaseAlias.Kind.FOLDER.value)
"""The kinds of places that people tell; that the hub holds the files it knows itself."""
ROUTES = ("adapters", "files", "located", "locations", "matrix", "relations")
"""What stands behind a name in an address; no name ends so, for it could not be asked for."""
MOST_PARAMETERS = (1 << 63) - 1  # what the column holds


@transaction.atomic
def register(
    *,
    viewer: Viewer,
    leaves: Any,
    config: dict[str, Any],
    tokenizer_digest: str | None = None,
    cast_roots: Any = None,
    logical: Any = None,
    name: str = "",
    locations: list[dict[str, str]] | None = None,
) -> tuple[BaseModel, bool]:
    """Register a base model by its tensor table and return it, and whether it is new. Again: the same one.

    Fingerprint, roots and architecture are computed here. What a person sends is `claimed`; what a worker sends, who
    hashed the bytes it loaded, is `observed`, and stays so. A name `namespace/name` needs the write role there; a bare
    name, a Hugging Face name and locations are the library's and need an operator. What a base is called that has no name
    yet is for whoever registered it, or an operator, to say: others get an alias.

    `logical` are the shapes of packed weights, which are held against the bytes that are there. `cast_roots` follow from
    no leaf: a person's are read and let go, only a worker's or an operator's are kept. Raises Invalid, Forbidden, Conflict.
    """
    viewers.require_scope(viewer, Scope.PUSH, Scope.WORKER)
    told = {"leaves": leaves, "config": config, "tokenizer_digest": tokenizer_digest}
    try:
        value = spec.BaseModel.from_json(told | {"cast_roots": cast_roots, "logical": logical})
        spec.check_told(value, logical or {})
    except SpecError as error:
        raise Invalid.from_spec(error) from None
    check_size(value)
    base, made = _keep(viewer, value, name)
    _believe(viewer, base, value)
    kin.note(base=base)
    if name:
        _name(viewer, base, name)
    for location in locations or []:
        _locate(viewer, base, location)
    return base, made


def _keep(viewer: Viewer, value: spec.BaseModel, name: str) -> tuple[BaseModel, bool]:
    observed = viewer.scope == Scope.WORKER
    state = BaseModel.State.OBSERVED if observed else BaseModel.State.CLAIMED
    base, made = BaseModel.objects.select_for_update().get_or_create(
        fingerprint=value.fingerprint,
        defaults={
            "state": state,
            "name": name,
            "config": value.config,
            "roots": value.roots,
            "tokenizer_digest": value.tokenizer_digest,
            "tensors": [leaf.to_json() for leaf in value.leaves],
            "owner": _owner(viewer, name),
            **fits.columns_of(base=value),
        },
    )
    if made:
        events.record(actor=viewer.name, kind="base.registered", subject=base.pk, state=state)
    elif observed:
        _observe(viewer, base, value)
    elif viewer.is_admin or registered_by(viewer, base):
        _unpack(base, value)
    return base, made


def _observe(viewer: Viewer, base: BaseModel, value: spec.BaseModel) -> None:
    """What a worker saw replaces what somebody claimed: configuration and tokenizer are no part of the fingerprint."""
    if base.state == BaseModel.State.CLAIMED:
        columns = {
            "state": BaseModel.State.OBSERVED,
            "config": value.config,
            "tokenizer_digest": value.tokenizer_digest,
        }
        _write(base, **columns, **fits.columns_of(base=value))
        events.record(actor=viewer.name, kind="base.observed", subject=base.pk)
    else:
        _unpack(base, value)


def _unpack(base: BaseModel, value: spec.BaseModel) -> None:
    """Keep the shapes before packing where nobody has told them yet: an earlier edition did not ask for them."""
    if value.logical is not None and base.logical is None and base.config == value.config:
        _write(base, **fits.columns_of(base=value))


def _believe(viewer: Viewer, base: BaseModel, value: spec.BaseModel) -> None:
    """Keep cast roots from a worker, who has the bytes, or from an operator where no worker has told any."""
    by = BaseModel.CastsBy.OPERATOR if viewer.is_admin else BaseModel.CastsBy.WORKER
    known = base.cast_roots_by == BaseModel.CastsBy.WORKER and by != BaseModel.CastsBy.WORKER
    same = (base.cast_roots, base.cast_roots_by) == (value.cast_roots, by)
    if viewer.is_worker and value.cast_roots and not known and not same:
        _write(base, cast_roots=value.cast_roots, cast_roots_by=by)


def _write(base: BaseModel, **columns: Any) -> None:
    columns["updated_at"] = timezone.now()
    for column, value in columns.items():
        setattr(base, column, value)
    base.save(update_fields=list(columns))


def _owner(viewer: Viewer, name: str) -> Namespace | None:
    """Who answers for a base model: the namespace of its name, else its sender's own; nobody for the library's and a worker's."""
    if viewer.scope == Scope.WORKER:
        return None
    if name:
        return namespaces.place(viewer, name)[0]
    person = None if viewer.is_admin else viewer.user
    return Namespace.objects.of(person).filter(name=viewer.name).first() if person else None


def _name(viewer: Viewer, base: BaseModel, name: str) -> None:
    """Make `name` an alias of the base; where it means another one, only an operator may move a library name."""
    check_name(name)
    namespace, short = namespaces.place(viewer, name)
    known = BaseAlias.objects.live().select_for_update().filter(namespace=namespace, name=short).first()
    if known is not None and known.base_id == base.pk:
        return
    if known is not None:
        _move(viewer, known, name)
    BaseAlias.objects.create(name=short, kind=BaseAlias.Kind.HUB, base=base, namespace=namespace)
    if not base.name and (viewer.is_admin or registered_by(viewer, base)):
        BaseModel.objects.filter(pk=base.pk).update(name=name)
        base.name = name
    events.record(actor=viewer.name, kind="base.named", subject=base.pk, name=name)


def check_name(name: str) -> None:
    """Raise Invalid for what is no name of a base model, or could not be asked for."""
    if (
        len(name) > 200
        or not name.isprintable()
        or name.startswith("base:")
        or name != name.strip()
        or not name.strip("/")
        or name.rpartition("/")[2] in ROUTES
        or "/files/" in name
    ):
        raise Invalid(f"{name[:80]!r} is not a name for a base model.", hint="Such as acme/my-base.")


def check_size(value: spec.BaseModel) -> None:
    """Raise Invalid for tensors with more parameters than the column holds."""
    if value.parameters > MOST_PARAMETERS:
        raise Invalid(
            f"The tensors have more than {MOST_PARAMETERS} parameters together.", hint="No model is that large."
        )


def registered_by(viewer: Viewer, base: BaseModel) -> bool:
    """Whether this viewer sent the base first, as the log tells. A worker's base would else be called what anybody says."""
    return Event.objects.filter(kind="base.registered", subject=base.pk, actor=viewer.name).exists()


def _move(viewer: Viewer, known: BaseAlias, name: str) -> None:
    if not viewer.is_admin:
        raise Conflict(f"The name {name!r} means {known.base_id} already.", hint="Choose another name.")
    known.state = BaseAlias.State.RENAMED
    known.save(update_fields=["state"])


def _locate(viewer: Viewer, base: BaseModel, location: dict[str, str]) -> None:
    if not viewer.is_admin:
        raise Forbidden("Locations are set by operators of the hub.", hint="Leave `locations` out.")
    kind, name = location.get("kind", ""), location.get("name", "")
    if kind not in KINDS or not name:
        raise Invalid(f"A location is {{kind: {'|'.join(KINDS)}, name, revision}}.")
    known = BaseAlias.objects.live().select_for_update().filter(namespace=None, name=name).first()
    if known is not None and known.base_id != base.pk:
        _move(viewer, known, name)
    columns = {"kind": kind, "revision": location.get("revision", ""), "state": BaseAlias.State.LIVE}
    row = BaseAlias.objects.best_first().filter(namespace=None, name=name, base=base).first()
    if row is None:
        BaseAlias.objects.create(name=name, base=base, **columns)
    else:
        BaseAlias.objects.filter(pk=row.pk).update(**columns)


@transaction.atomic
def set_location(*, viewer: Viewer, base: str, name: str, state: str) -> BaseModel:
    """Say of a place where a base model lies, or lay, whether it is live, renamed, gone or gated; return the base.

    The name goes on meaning the base, until something else is called so. Raises Forbidden, NotFound, Invalid, Conflict.
    """
    viewers.require_scope(viewer, Scope.ADMIN)
    found = base_models.get(base, viewer)
    if state not in BaseAlias.State.values:
        raise Invalid(f"There is no state {state!r}.", hint=f"One of: {', '.join(BaseAlias.State.values)}.")
    rows = BaseAlias.objects.select_for_update().filter(namespace=None, name=name)
    row = rows.filter(base=found).order_by("-pk").first()
    if row is None:
        known = ", ".join(place["name"] for place in base_models.locations(found)) or "none"
        raise NotFound(f"{found} lies at no {name!r}.", hint=f"Its locations: {known}.")
    if state == BaseAlias.State.LIVE and rows.live().exclude(pk=row.pk).exists():
        raise Conflict(f"The name {name!r} means another base model now.", hint="Register that one without it first.")
    if row.state != state:
        row.state = state
        row.save(update_fields=["state"])
        events.record(actor=viewer.name, kind="base.location", subject=found.pk, name=name, state=state)
    return found
