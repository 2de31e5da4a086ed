"""People who join."""

from django.db import transaction

from hub.spec import reference
from registry.models import Namespace, Role, User
from registry.services import events, namespaces


@transaction.atomic
def create(*, username: str, password: str | None = None, email: str = "", staff: bool = False) -> User:
    """Make a user with a namespace of the same name. Without a password only tokens let them in.

    Raises Invalid or LookAlike where the name cannot be a namespace.
    """
    namespaces.check(username)
    user = User(username=username, email=email, is_staff=staff)
    if password is None:
        user.set_unusable_password()
    else:
        user.set_password(password)
    user.save()
    namespaces.create(name=username, kind=Namespace.Kind.USER, owner=user)
    events.record(actor=username, kind="user.created", subject=username)
    return user


@transaction.atomic
def make_operator(*, username: str, password: str) -> None:
    """Make the first user of a hub, an operator and owner of the library, unless there is one by that name."""
    if User.objects.filter(username=username).exists():
        return
    user = create(username=username, password=password, staff=True)
    library = Namespace.objects.get(name=reference.LIBRARY)
    namespaces.set_role(namespace=library, user=user, role=Role.OWNER, actor=username)
