"""The rows of stored bytes. The bytes themselves are the store's affair."""

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from registry.models import Blob
from registry.storage.base import Stored


@transaction.atomic
def keep(*, stored: Stored) -> None:
    """Note bytes that are in the store. A blob that was on its way out is wanted again."""
    _, made = Blob.objects.get_or_create(sha256=stored.sha256, defaults={"size": stored.size})
    if made:
        return
    now, row = timezone.now(), Blob.objects.filter(pk=stored.sha256)
    # The state is asked for in the statement that changes it: whoever deletes may have been quicker than our look.
    if not row.exclude(state=Blob.State.LIVE).update(
        state=Blob.State.LIVE, version=F("version") + 1, last_referenced_at=now
    ):
        row.update(last_referenced_at=now)
