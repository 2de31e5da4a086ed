"""What a token stands for."""

from registry.models import Membership, Token
from registry.queries import shapes
from registry.queries.viewers import Viewer, require_user


def me(viewer: Viewer, token: Token | None) -> shapes.Me:
    """Return the person behind a token, where they may write, and what the token may do. Raises Unauthenticated."""
    user = require_user(viewer)
    roles = Membership.objects.filter(user=user).select_related("namespace").order_by("namespace__name")
    return {
        "user": user.username,
        "namespaces": [{"name": row.namespace.name, "role": row.role} for row in roles],
        "scope": viewer.scope or "",
        "expires_at": token.expires_at if token else None,
    }
