"""The history of an adapter, as Hugging Face clients see it: every push is a commit on `main`."""

import hashlib

from django.utils import timezone

from hub.spec import documents
from registry.models import Adapter, Commit, Manifest, Ref, User

MAIN = "main"


def make(*, adapter: Adapter, manifest: Manifest, author: User, message: str) -> Commit:
    """Append a commit to `main` and return it. The adapter's row must be locked by the caller."""
    head = Ref.objects.filter(adapter=adapter, kind=Ref.Kind.HEAD, name=MAIN).select_related("commit").first()
    parent = head.commit if head else None
    now = timezone.now()
    commit = Commit.objects.create(
        adapter=adapter,
        oid=_oid(adapter, manifest, parent, author, message, now.isoformat()),
        parent=parent,
        manifest=manifest,
        author=author,
        message=message,
        created_at=now,
    )
    Ref.objects.update_or_create(adapter=adapter, kind=Ref.Kind.HEAD, name=MAIN, defaults={"commit": commit})
    return commit


def _oid(adapter: Adapter, manifest: Manifest, parent: Commit | None, author: User, message: str, time: str) -> str:
    """Return the first 40 hex digits of the SHA-256 over everything that makes the commit what it is."""
    parts = [adapter.pk, manifest.pk, parent.oid if parent else None, author.username, message, time]
    return hashlib.sha256(documents.canonical(parts)).hexdigest()[:40]
