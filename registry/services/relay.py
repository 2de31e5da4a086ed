"""What has to happen without anybody asking: hints go out, dead leases and forgotten uploads come back.

Nothing here is needed for a state to be right, only for it to move on. Two relays at once are safe: each part is a
short transaction of its own, takes rows that nobody else holds, and repeats its condition in the statement that writes.
"""

import time
from collections.abc import Callable

from django.conf import settings

from registry.models import Upload, UploadBlob
from registry.queries import blobs
from registry.queries import runs as queue
from registry.services import adapters, fits, leases, outbox, replanning, uploads

KEEP_SENT_SECONDS = 60
SWEEP_SECONDS = 3600
swept: list[float] = []
"""When this process last swept the staging area, by its monotonic clock."""


def tick() -> dict[str, int]:
    """Do every part once and return how many rows each has moved.

    A part that fails does not keep the others from running. Raises ExceptionGroup in the end, with what failed.
    """
    moved: dict[str, int] = {}
    failures: list[Exception] = []
    for name, part in PARTS.items():
        try:
            moved[name] = part()
        except Exception as error:
            error.add_note(f"in the relay: {name}")
            failures.append(error)
    if failures:
        raise ExceptionGroup("parts of a round of the relay failed", failures)
    return moved


def hint_runs() -> int:
    """Hint again at runs that have waited: a message may be lost with its broker, or taken by a worker without the base."""
    seconds = settings.HUB_REHINT_SECONDS
    return outbox.hint_again(kind=outbox.VALIDATE, ids=queue.waiting(seconds, outbox.BATCH), seconds=seconds)


def hint_uploads() -> int:
    """Hint again at uploads whose ingest nobody works on."""
    seconds = settings.HUB_REHINT_SECONDS
    return outbox.hint_again(kind=outbox.INGEST, ids=uploads.stalled(limit=outbox.BATCH), seconds=seconds)


def hint_comparisons() -> int:
    """Hint again at needs and offers that nobody has compared yet."""
    seconds = settings.HUB_REHINT_SECONDS
    return outbox.hint_again(kind=outbox.COMPARE, ids=fits.waiting(seconds, outbox.BATCH), seconds=seconds)


def forget_sent() -> int:
    """Delete messages once they are of no more use to `hint_again`."""
    return outbox.forget_sent(seconds=max(KEEP_SENT_SECONDS, 4 * settings.HUB_REHINT_SECONDS))


def sweep_staging() -> int:
    """Once an hour, discard staged bytes that outlived their upload: whoever should have done so was killed.

    The bytes of an upload that waits to be ingested stay: they were acknowledged, however long ago.
    """
    if swept and time.monotonic() - swept[-1] < SWEEP_SECONDS:
        return 0
    swept[:] = [time.monotonic()]
    waiting = UploadBlob.objects.filter(upload__state=Upload.State.INGESTING)
    keep = frozenset(waiting.values_list("staging_key", flat=True))
    return blobs.store().sweep_staging(2 * 3600 * settings.HUB_UPLOAD_HOURS, keep=keep)


PARTS: dict[str, Callable[[], int]] = {
    "leases freed": leases.release_expired,
    "runs planned anew": replanning.renew,
    "runs hinted again": hint_runs,
    "ingests hinted again": hint_uploads,
    "comparisons hinted again": hint_comparisons,
    "messages sent": outbox.send_due,
    "uploads expired": uploads.expire,
    "pulls counted": adapters.count_pulls,
    "messages forgotten": forget_sent,
    "staging swept": sweep_staging,
}
