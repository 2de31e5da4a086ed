"""Base models by their headers: note where one lies, and who it is as soon as somebody trusted holds the same files.

Whoever registers a base model may say which files its weights are. Where such files were located, the located base model
is that one: for everybody if a worker or an operator says so, who held the bytes; from anybody else it is a claim, which
is shown and leads nobody anywhere.
"""

from typing import Any

from django.db import transaction
from django.utils import timezone

from hub.spec import base_model as spec
from hub.spec import located as rules
from hub.spec.base_model import Leaf
from hub.spec.errors import SpecError
from registry.errors import Invalid
from registry.models import BaseAlias, BaseModel, LocatedBase, Scope
from registry.queries import base_models as bases
from registry.queries import viewers
from registry.queries.viewers import Viewer
from registry.services import base_models, events, fits, namespaces


@transaction.atomic
def locate(
    *,
    viewer: Viewer,
    name: str,
    source: str,
    revision: str,
    config: dict[str, Any],
    tensors: Any,
    files: Any,
    tokenizer_digest: str | None = None,
    private: bool = False,
) -> tuple[LocatedBase, bool]:
    """Note a base model by the headers of its weights and return it, and whether that is new. Again: the same one.

    `namespace/name` needs the write role there, every other name (those of Hugging Face, too) is given by operators. The
    same name at another commit takes the place of the earlier one, which is kept; what was private stays so. Nothing is
    believed but shapes: of the values nobody knows anything yet. Raises Invalid, Forbidden.
    """
    viewers.require_scope(viewer, Scope.PUSH)
    base_models.check_name(name)
    namespace, short = namespaces.place(viewer, name)
    if private and namespace is None:
        raise Invalid("What belongs to the library is seen by everybody.", hint="Name it namespace/name.")
    try:
        value = spec.from_leaves(_leaves(tensors), config, tokenizer_digest)
        listed = rules.parse_files(files)
    except SpecError as error:
        raise Invalid.from_spec(error) from None
    base_models.check_size(value)
    given: dict[str, Any] = {
        "source": source,
        "revision": revision,
        "config": config,
        "tensors": tensors,
        "files": [file.to_json() for file in listed],
        "files_digest": rules.files_digest(listed),
        "tokenizer_digest": tokenizer_digest,
    }
    known = LocatedBase.objects.current().select_for_update().filter(namespace=namespace, name=short).first()
    private = private or (known is not None and known.visibility == LocatedBase.Visibility.PRIVATE)
    given["visibility"] = LocatedBase.Visibility.PRIVATE if private else LocatedBase.Visibility.PUBLIC
    if known is not None and all(getattr(known, key) == value for key, value in given.items()):
        return known, False
    if known is not None:
        known.superseded_at = timezone.now()
        known.save(update_fields=["superseded_at"])
    row = LocatedBase.objects.create(
        name=short,
        namespace=namespace,
        size=sum(file.size for file in listed),
        architecture=value.architecture,
        offer=fits.offer_of(base=value),
        parameters=value.parameters,
        located_by=viewer.name,
        **given,
    )
    events.record(actor=viewer.name, kind="base.located", subject=name, source=source, revision=revision)
    _know_again(row)
    return row, True


def _leaves(tensors: Any) -> tuple[Leaf, ...]:
    if not isinstance(tensors, list) or any(not isinstance(item, list) or len(item) != 3 for item in tensors):
        raise Invalid("`tensors` must be [[name, dtype, shape], ...].", hint="The headers tell no hashes.")
    return spec.parse_leaves(rules.unhashed(tensors))


def _know_again(row: LocatedBase) -> None:
    """The same files under another name, of which somebody who is believed has said already who they are; or a place of which
    an operator has said so (only where an operator locates: else a person's word for the files would be taken for theirs)."""
    same = LocatedBase.objects.filter(files_digest=row.files_digest, state=LocatedBase.State.OBSERVED)
    twin = same.select_related("base").order_by("pk").first()
    base = twin.base if twin is not None else None
    if base is None and row.namespace_id is None:
        places = BaseAlias.objects.live().filter(namespace=None, kind=BaseAlias.Kind.HUB)
        place = places.filter(name=row.source, revision=row.revision).select_related("base").first()
        base = place.base if place is not None else None
    if base is not None and rules.agrees(_leaves(row.tensors), bases.to_spec(base)):
        _tell(row.located_by, row, base, believed=True)


@transaction.atomic
def register(*, viewer: Viewer, files: Any = None, **given: Any) -> tuple[BaseModel, bool]:
    """Register a base model (`base_models.register`), and tell the located ones that its weight files are who they are.

    `files` is [{path, size, sha256}, ...] of the weights. Raises Invalid, Forbidden, Conflict.
    """
    base, made = base_models.register(viewer=viewer, **given)
    if files is not None:
        try:
            digest = rules.files_digest(rules.parse_files(files))
        except SpecError as error:
            raise Invalid.from_spec(error) from None
        _fill(viewer, base, digest)
    return base, made


def _fill(viewer: Viewer, base: BaseModel, files_digest: str) -> None:
    rows = list(LocatedBase.objects.unhashed().select_for_update().filter(files_digest=files_digest).order_by("pk"))
    if not rows:
        return
    value = bases.to_spec(base)
    for row in rows:
        if not rules.agrees(_leaves(row.tensors), value):
            continue
        _tell(viewer.name, row, base, believed=viewer.is_worker)  # an operator is one, too


def _tell(actor: str, row: LocatedBase, base: BaseModel, *, believed: bool) -> None:
    """Say who a located base model is, as far as nobody learns by it what is private: a base model of somebody else's is not
    told at all; and a private name leads to no public one, where everybody would read it, but is shown its claim."""
    private = LocatedBase.Visibility.PRIVATE
    hidden = base.visibility == private
    if hidden and (row.namespace_id is None or row.namespace_id != base.owner_id):
        return
    if believed and (hidden or row.visibility != private):
        _observe(actor, row, base)
    elif row.state == LocatedBase.State.OPEN:
        _claim(actor, row, base)


def _claim(actor: str, row: LocatedBase, base: BaseModel) -> None:
    """The first claim stays until somebody who is believed speaks: else the last one to lie would be shown."""
    row.state, row.base, row.claimed_by = LocatedBase.State.CLAIMED, base, actor
    row.save(update_fields=["state", "base", "claimed_by"])
    events.record(actor=actor, kind="base.located_claimed", subject=base.pk, name=row.name)


def _observe(actor: str, row: LocatedBase, base: BaseModel) -> None:
    row.state, row.base, row.claimed_by = LocatedBase.State.OBSERVED, base, ""
    row.save(update_fields=["state", "base", "claimed_by"])
    _lead(row, row.name, base)
    if row.namespace_id is None:
        _lead(row, row.source, base)  # for everybody: where it lies
        if not base.name:
            base.name = row.name
            base.save(update_fields=["name"])
    events.record(actor=actor, kind="base.located_observed", subject=base.pk, name=row.name)


def _lead(row: LocatedBase, name: str, base: BaseModel) -> None:
    """Let a name lead to the base from now on. What somebody with the right to it said since it was located stays."""
    known = BaseAlias.objects.live().select_for_update().filter(namespace=row.namespace_id, name=name).first()
    revision = row.revision if name == row.source else ""
    if known is not None and known.base_id == base.pk:
        BaseAlias.objects.filter(pk=known.pk).update(revision=revision or known.revision)
        return
    if known is not None and known.created_at >= row.created_at:
        return
    if known is not None:
        known.state = BaseAlias.State.RENAMED
        known.save(update_fields=["state"])
    BaseAlias.objects.create(name=name, kind=BaseAlias.Kind.HUB, revision=revision, base=base, namespace=row.namespace)
