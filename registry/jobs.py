"""The Celery tasks of the registry: a door like the others. A message says which row to look at; the row says what to do.

Any message may come late, twice or not at all. The lease of the row decides.
"""

from typing import Any

from registry import celery
from registry.services import fits, outbox
from registry.services import ingest as ingests


@celery.app.task(name=outbox.INGEST, ignore_result=True)
def ingest(*, upload_id: str, **later: Any) -> bool:
    """Ingest an upload that was completed; False where nothing was to be done. Arguments of newer hubs are passed over."""
    return ingests.run(upload_id=upload_id)


@celery.app.task(name=outbox.COMPARE, ignore_result=True)
def compare(*, digest: str, **later: Any) -> bool:
    """Hold a new need against every offer, or a new offer against every need; False where nothing was to be done."""
    return fits.compare(digest=digest)
