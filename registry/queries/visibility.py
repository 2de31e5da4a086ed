"""Which adapters and versions a viewer may know of: the one place where the whole registry asks.

What a viewer may not know of looks exactly like what does not exist: every look-up goes through here and fails
with the same words.
"""

from django.db.models import Exists, OuterRef, Q

from registry.errors import NotFound
from registry.models import Adapter, Namespace, Version
from registry.models.adapters import AdapterQuerySet
from registry.models.versions import VersionQuerySet
from registry.queries.viewers import Viewer, is_member


def visible_adapters(viewer: Viewer) -> AdapterQuerySet:
    """Return the adapters that this viewer may know of.

    Members see all of their namespace. Others see what is public and has something to give: an adapter of which
    nothing was published yet looks like one that is not there, and so does a private one.
    """
    if viewer.is_admin:
        return Adapter.objects.live()
    served = Exists(Version.objects.served().filter(adapter=OuterRef("pk")))
    seen = Adapter.objects.visible_to(viewer.person)
    if viewer.person is None:
        return seen.filter(served)
    return seen.filter(Q(namespace__in=Namespace.objects.of(viewer.person)) | served)


def get_adapter(namespace: str, name: str, viewer: Viewer) -> Adapter:
    """Return an adapter by name. Raises NotFound."""
    rows = visible_adapters(viewer).select_related("namespace")
    found = rows.filter(namespace__name=namespace, name=name).first()
    if found is None:
        raise NotFound(
            f"There is no adapter {namespace}/{name}.", hint="Check the name, or log in if it is private: hub login."
        )
    return found


def visible_versions(adapter: Adapter, viewer: Viewer) -> VersionQuerySet:
    """Return the versions this viewer may know of: members all, others those that are served."""
    rows = Version.objects.filter(adapter=adapter)
    return rows if is_member(viewer, adapter.namespace) else rows.served()
