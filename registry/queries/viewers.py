"""Who asks, and what they may do where. Every query and service that depends on the person takes a `Viewer`."""

import dataclasses

from registry.errors import Forbidden, NotFound, Unauthenticated
from registry.models import Membership, Namespace, Role, Scope, User

WRITING = (Role.OWNER, Role.ADMIN, Role.WRITE)
ADMINISTERING = (Role.OWNER, Role.ADMIN)


@dataclasses.dataclass(frozen=True)
class Viewer:
    """Somebody who asks: nobody in particular, a person on the pages, or the holder of a token."""

    user: User | None = None
    scope: str | None = None

    @property
    def person(self) -> User | None:
        """Whose private adapters are seen. A worker's token opens nothing but the queue."""
        return None if self.scope == Scope.WORKER else self.user

    @property
    def is_admin(self) -> bool:
        """An operator of the hub: owner of every namespace, the library included."""
        return self.user is not None and self.scope == Scope.ADMIN

    @property
    def is_worker(self) -> bool:
        return self.user is not None and self.scope in (Scope.WORKER, Scope.ADMIN)

    @property
    def name(self) -> str:
        """How the event log calls this viewer."""
        return self.user.username if self.user else ""


ANYBODY = Viewer()


def of_session(user: User | None) -> Viewer:
    """Return the viewer behind a signed-in session of the pages: may push, is no operator."""
    return Viewer(user, Scope.PUSH) if user is not None and user.is_authenticated else ANYBODY


def of_console() -> Viewer:
    """Return the viewer behind a command on the server itself: an operator, whom no row of ours has to name."""
    return Viewer(User(username="console"), Scope.ADMIN)


def require_user(viewer: Viewer) -> User:
    """Return the person, or raise Unauthenticated."""
    if viewer.user is None:
        raise Unauthenticated(
            "This needs a token.", hint="Send `Authorization: Bearer ahub_...`; with the client: `hub login`."
        )
    return viewer.user


def require_scope(viewer: Viewer, *scopes: str) -> User:
    """Return the person if their token has one of the scopes (an admin token has all), or raise."""
    user = require_user(viewer)
    if viewer.scope != Scope.ADMIN and viewer.scope not in scopes:
        wanted = " or ".join(scopes)
        raise Forbidden(
            f"This needs a token with the scope {wanted}; yours has {viewer.scope}.",
            hint=f"Make one on the page /settings/tokens, or: manage.py token {user.username} --scope {scopes[0]}",
        )
    return user


def role_in(viewer: Viewer, namespace: Namespace) -> str | None:
    """Return the viewer's role in a namespace, None for a stranger."""
    if viewer.is_admin:
        return Role.OWNER
    if viewer.person is None:
        return None
    return Membership.objects.filter(namespace=namespace, user=viewer.person).values_list("role", flat=True).first()


def is_member(viewer: Viewer, namespace: Namespace) -> bool:
    """Whether the viewer belongs to the namespace, in any role."""
    return role_in(viewer, namespace) is not None


def require_writer(viewer: Viewer, namespace_name: str) -> Namespace:
    """Return the namespace if the viewer may push there, or raise.

    The answer does not depend on the adapter that is wanted, so that it tells nothing of private ones.
    """
    return _require(viewer, namespace_name, WRITING, "write")


def require_administrator(viewer: Viewer, namespace_name: str) -> Namespace:
    """Return the namespace if the viewer is one of its admins, or raise."""
    return _require(viewer, namespace_name, ADMINISTERING, "admin")


def _require(viewer: Viewer, namespace_name: str, roles: tuple[Role, ...], wanted: str) -> Namespace:
    require_scope(viewer, Scope.PUSH)
    namespace = Namespace.objects.filter(name=namespace_name).first()
    if namespace is None:
        raise NotFound(f"There is no namespace {namespace_name!r}.", hint=_own_namespaces(viewer))
    if role_in(viewer, namespace) not in roles:
        raise Forbidden(f"You have no {wanted} role in the namespace {namespace_name!r}.", hint=_own_namespaces(viewer))
    return namespace


def _own_namespaces(viewer: Viewer) -> str:
    own = Membership.objects.writing().filter(user=viewer.user).order_by("namespace__name")
    names = list(own.values_list("namespace__name", flat=True)[:10])
    return (
        f"You may push to: {', '.join(names)}." if names else "You may push nowhere yet: ask an admin of a namespace."
    )
