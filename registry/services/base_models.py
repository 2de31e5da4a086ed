"""Base models: register by their leaves, give them names."""

from typing import Any

from django.db import transaction
from django.utils import timezone

from hub.spec import base_model as spec
from hub.spec.errors import SpecError
from registry.errors import Conflict, Forbidden, Invalid
from registry.models import BaseAlias, BaseModel, Event, Scope
from registry.queries import viewers
from registry.queries.viewers import Viewer
from registry.services import events, fits, namespaces

KINDS = ("hub", "mirror", "folder")
ROUTES = ("adapters", "files", "located", "matrix", "relations")
"""What stands behind a name in an address; no name ends so, for it could not be asked for."""
MOST_PARAMETERS = (1 << 63) - 1  # what the column holds


@transaction.atomic
def register(
    *,
    viewer: Viewer,
    leaves: Any,
    config: dict[str, Any],
    tokenizer_digest: str | None = None,
    name: str = "",
    locations: list[dict[str, str]] | None = None,
) -> tuple[BaseModel, bool]:
    """Register a base model by its tensor table and return it, and whether it is new. Again: the same one.

    Fingerprint, roots and architecture are computed here. What a person sends is `claimed`; what a worker sends, who
    hashed the bytes it loaded, is `observed`, and stays so. A name `namespace/name` needs the write role there; a bare
    name, a Hugging Face name and locations are the library's and need an operator. What a base is called that has no name
    yet is for whoever registered it, or an operator, to say: others get an alias. Raises Invalid, Forbidden, Conflict.
    """
    viewers.require_scope(viewer, Scope.PUSH, Scope.WORKER)
    try:
        value = spec.from_leaves(spec.parse_leaves(leaves), config, tokenizer_digest)
    except SpecError as error:
        raise Invalid.from_spec(error) from None
    if value.parameters > MOST_PARAMETERS:
        raise Invalid(
            f"The tensors have more than {MOST_PARAMETERS} parameters together.", hint="No model is that large."
        )
    base, made = _keep(viewer, value, name)
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
            "architecture": value.architecture,
            "tokenizer_digest": value.tokenizer_digest,
            "tensors": [leaf.to_json() for leaf in value.leaves],
            "parameters": value.parameters,
            "offer": fits.offer_of(base=value),
        },
    )
    if made:
        events.record(actor=viewer.name, kind="base.registered", subject=base.pk, state=state)
    elif observed:
        _observe(viewer, base, value)
    return base, made


def _observe(viewer: Viewer, base: BaseModel, value: spec.BaseModel) -> None:
    """What a worker saw replaces what somebody claimed: configuration and tokenizer are no part of the fingerprint."""
    if base.state != BaseModel.State.CLAIMED:
        return
    base.state = BaseModel.State.OBSERVED
    base.config, base.architecture, base.tokenizer_digest = value.config, value.architecture, value.tokenizer_digest
    base.offer, base.updated_at = fits.offer_of(base=value), timezone.now()
    base.save(update_fields=["state", "config", "architecture", "tokenizer_digest", "offer", "updated_at"])
    events.record(actor=viewer.name, kind="base.observed", subject=base.pk)


def _name(viewer: Viewer, base: BaseModel, name: str) -> None:
    """Make `name` an alias of the base; where it means another one, only an operator may move a library name."""
    check_name(name)
    namespace, short = namespaces.place(viewer, name)
    known = BaseAlias.objects.live().select_for_update().filter(namespace=namespace, name=short).first()
    if known is not None and known.base_id == base.pk:
        return
    if known is not None:
        _move(viewer, known, name)
    BaseAlias.objects.create(name=short, kind="hub", base=base, namespace=namespace)
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
        raise Invalid("A location is {kind: hub|mirror|folder, name, revision}.")
    known = BaseAlias.objects.live().select_for_update().filter(namespace=None, name=name).first()
    if known is not None and known.base_id == base.pk:
        BaseAlias.objects.filter(pk=known.pk).update(kind=kind, revision=location.get("revision", ""))
        return
    if known is not None:
        _move(viewer, known, name)
    BaseAlias.objects.create(name=name, kind=kind, revision=location.get("revision", ""), base=base)
