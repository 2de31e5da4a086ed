"""Namespaces and their members."""

from django.db import IntegrityError, transaction

from hub.spec import reference
from hub.spec.errors import SpecError
from registry.errors import Forbidden, Invalid, LookAlike, RegistryError
from registry.models import Membership, Namespace, Role, Scope, Tombstone, User
from registry.queries import viewers
from registry.queries.viewers import Viewer
from registry.services import events


def check(name: str) -> None:
    """Raise Invalid for a name that breaks the grammar or is reserved, LookAlike where another is too near."""
    try:
        reference.check_namespace(name)
    except SpecError as error:
        raise Invalid.from_spec(error) from None
    other = Namespace.objects.looking_like(name).first()
    if other is not None:
        raise LookAlike(f"The namespace {name!r} looks like {other.name!r}.", hint="Choose another name.")


@transaction.atomic
def create(*, name: str, kind: str = Namespace.Kind.ORG, owner: User) -> Namespace:
    """Make a namespace owned by this user. Raises Invalid, LookAlike.

    A name that was deleted is made again by its former owner only.
    """
    check(name)
    dead = Tombstone.objects.of_namespace(name).exclude(owner=owner)
    if dead.exists():
        raise LookAlike(f"The namespace {name!r} existed and was deleted.", hint="Choose another name.")
    try:
        with transaction.atomic():
            namespace = Namespace.objects.create(name=name, kind=kind)
    except IntegrityError as error:
        raise _refusal(name, error) from None
    Membership.objects.create(namespace=namespace, user=owner, role=Role.OWNER)
    events.record(actor=owner.username, kind="namespace.created", subject=name)
    return namespace


def _refusal(name: str, error: IntegrityError) -> RegistryError:
    if "looks_like_no_other" in str(error):
        return LookAlike(f"The namespace {name!r} looks like one that exists.", hint="Choose another name.")
    return Invalid(f"The namespace {name!r} is reserved or not well-formed.", hint="Choose another name.")


def place(viewer: Viewer, name: str) -> tuple[Namespace | None, str]:
    """Return where something that the whole hub may look up under `name` lives, and how it is called there.

    `namespace/name` lives in that namespace where the viewer may write there. Every other name, a bare one too, belongs
    to the library (None) and is given by operators only: else a user `reviews` could take over what `reviews` means.
    Raises Forbidden.
    """
    head, _, rest = name.partition("/")
    home = Namespace.objects.filter(name=head).first() if rest else None
    if home is not None and viewer.scope != Scope.WORKER and viewers.role_in(viewer, home) in viewers.WRITING:
        return home, rest
    if viewer.is_admin:
        return None, name
    raise Forbidden(
        f"The name {name!r} is not yours to give.",
        hint="Use namespace/name in a namespace of yours; bare and Hugging Face names are for operators of the hub.",
    )


@transaction.atomic
def set_role(*, namespace: Namespace, user: User, role: str, actor: str = "") -> None:
    """Give a user a role in a namespace, or change it."""
    if role not in Role.values:
        raise Invalid(f"There is no role {role!r}.", hint=f"One of: {', '.join(Role.values)}.")
    Membership.objects.update_or_create(namespace=namespace, user=user, defaults={"role": role})
    events.record(actor=actor, kind="member.role", subject=namespace.name, user=user.username, role=role)
