"""What must hold after any storm, asked of the database and of the API: a list of violations, in words, empty when all is well.

The history is what the publishers saw (`Receipt`); everything else is read afterwards.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row

from hub.client import Client
from hub.errors import HubError
from tests.system.hubs import RunningHub

JUDGED = {"passed": "published", "failed": "rejected"}
"""Status of a run -> status of the versions that waited for it."""

VERSIONS = """
    SELECT n.name || '/' || a.name AS repo, n.name || '/' || a.name || ':' || coalesce(v.label, v.number::text) AS ref,
           v.number, v.status, r.status AS run_status,
           (v.adapter_digest, v.base_fingerprint, v.plan_digest)
               IS NOT DISTINCT FROM (r.adapter_digest, r.base_fingerprint, r.plan_digest) AS by_its_run,
           v.adapter_digest IS NOT DISTINCT FROM m.adapter_digest AS by_its_files
    FROM registry_version v
    JOIN registry_adapter a ON a.id = v.adapter_id
    JOIN registry_namespace n ON n.id = a.namespace_id
    LEFT JOIN registry_run r ON r.id = v.run_id
    LEFT JOIN registry_manifest m ON m.digest = v.digest
"""
RUNS = """
    SELECT id::text, status, attempt, takeovers, lease_no, error, adapter_digest || base_fingerprint || plan_digest AS key,
           jsonb_array_length(plan->'benchmarks') AS benchmarks,
           (SELECT count(*) FROM registry_score s WHERE s.run_id = r.id) AS scores
    FROM registry_run r
"""
EVENTS = "SELECT kind, subject FROM registry_event"
UPLOADS = "SELECT id::text, state FROM registry_upload WHERE state NOT IN ('done', 'failed')"
UNFINISHED = """
    SELECT (SELECT count(*) FROM registry_run WHERE status IN ('queued', 'leased'))
         + (SELECT count(*) FROM registry_upload WHERE state = 'ingesting') AS rows
"""


@dataclass(frozen=True)
class Receipt:
    """A push that the hub has acknowledged: what was sent, and what the publisher was told in the end."""

    repo: str
    label: str
    number: int
    folder: Path
    good: bool
    heard: str | None = None
    """The status that the publisher heard, None where it did not wait for one."""

    @property
    def ref(self) -> str:
        return f"{self.repo}:{self.label}"

    @property
    def due(self) -> str:
        """The status that it has to end with."""
        return "published" if self.good else "rejected"


def environment(hub: RunningHub) -> dict[str, str]:
    """What the hub noted for other commands: where its database, its broker and its blobs are."""
    return dict(json.loads((hub.data / "running.json").read_text())["environment"])


def ask(hub: RunningHub, question: str) -> list[Any]:
    """Ask the hub's database."""
    with psycopg.connect(environment(hub)["DATABASE_URL"], row_factory=namedtuple_row) as connection:
        return list(connection.execute(question).fetchall())


def is_quiet(hub: RunningHub) -> bool:
    """Whether nothing waits or works any more."""
    return bool(ask(hub, UNFINISHED)[0].rows == 0)


def violations(hub: RunningHub, receipts: Sequence[Receipt], client: Client) -> list[str]:
    """Everything that should not be. `client` belongs to the owner and has an empty cache."""
    told = compare(receipts, ask(hub, VERSIONS), ask(hub, RUNS), ask(hub, EVENTS), ask(hub, UPLOADS))
    return [*told, *_damaged(receipts, client)]


def compare(
    receipts: Sequence[Receipt],
    versions: Sequence[Any],
    runs: Sequence[Any],
    events: Iterable[Any],
    uploads: Iterable[Any],
) -> list[str]:
    """What the database says, held against what was promised. The rows are those of the questions above."""
    counted = Counter((event.kind, event.subject) for event in events)
    found = [
        *_lost(receipts, versions),
        *_unproven(versions),
        *_unfinished(runs, uploads),
        *_doubled(runs, versions, counted),
    ]
    return sorted(found)


def _lost(receipts: Iterable[Receipt], versions: Sequence[Any]) -> Iterator[str]:
    """Every acknowledged push is one version with the verdict that is due; nothing else is there."""
    known = Counter(version.ref for version in versions)
    status = {(version.repo, version.number): version.status for version in versions}
    promised = {receipt.ref for receipt in receipts}
    for receipt in receipts:
        if known[receipt.ref] != 1:
            yield f"{receipt.ref} is there {known[receipt.ref]} times"
        ended = status.get((receipt.repo, receipt.number), "nothing")
        if ended != receipt.due:
            yield f"{receipt.ref} was acknowledged and is {ended}, due is {receipt.due}"
        if receipt.heard not in (None, receipt.due):
            yield f"{receipt.ref}: the publisher was told {receipt.heard}, due is {receipt.due}"
    yield from (f"{ref} is there and nobody has a receipt for it" for ref in known if ref not in promised)


def _unproven(versions: Iterable[Any]) -> Iterator[str]:
    """What is published has a passed run for exactly its bytes, base and plan; and every verdict is its run's."""
    for version in versions:
        judged = JUDGED.get(version.run_status, "nothing")
        if version.status == "published" and not (
            judged == "published" and version.by_its_run and version.by_its_files
        ):
            yield f"{version.ref} is published without a passed run for exactly its key"
        if version.status != judged:
            yield f"{version.ref} is {version.status}, its run says {judged}"


def _unfinished(runs: Iterable[Any], uploads: Iterable[Any]) -> Iterator[str]:
    """Every run came to a verdict: `error` is none. No upload is stuck."""
    for run in runs:
        if run.status not in JUDGED:
            counts = f"attempt {run.attempt}, {run.takeovers} takeovers, {run.error}"
            yield f"run {run.id} came to no verdict: {run.status} ({counts})"
    yield from (f"upload {upload.id} is {upload.state}" for upload in uploads)


def _doubled(runs: Sequence[Any], versions: Iterable[Any], events: Counter[tuple[str, str]]) -> Iterator[str]:
    """Each thing happened once: one judgement per run and per key, its scores once, one event per version."""
    for run in runs:
        judged = sum(events[f"run.{status}", run.id] for status in JUDGED)
        if judged != 1 and run.status in JUDGED:
            yield f"run {run.id} was judged {judged} times"
        if run.status == "passed" and run.scores != run.benchmarks:
            yield f"run {run.id} has {run.scores} scores on {run.benchmarks} benchmarks"
    for key, count in Counter(run.key for run in runs).items():
        if count != 1:
            yield f"the evidence key {key[:12]} has {count} runs"
    for version in versions:
        for status in JUDGED.values():
            count, due = events[f"version.{status}", version.ref], int(version.status == status)
            if count != due:
                yield f"{version.ref} has {count} events version.{status}, due is {due}"


def _damaged(receipts: Iterable[Receipt], client: Client) -> Iterator[str]:
    """Every byte that was pushed can be had, and is the same: published ones by a pull, refused ones by their owner."""
    for receipt in receipts:
        mine = {path.name: path.read_bytes() for path in receipt.folder.iterdir()}
        try:
            theirs = _pulled(receipt, client) if receipt.good else _kept(receipt, client)
        except HubError as error:
            yield f"{receipt.ref} cannot be had: {error}"
            continue
        theirs.pop("hub.json", None)  # the client has added it
        if theirs != {name: _sha256(data) for name, data in mine.items()}:
            yield f"{receipt.ref} has other bytes than were pushed"


def _pulled(receipt: Receipt, client: Client) -> dict[str, str]:
    adapter = client.pull(receipt.ref)
    return {path.name: _sha256(path.read_bytes()) for path in Path(adapter).iterdir()}


def _kept(receipt: Receipt, client: Client) -> dict[str, str]:
    detail = client.info(f"{receipt.repo}:{receipt.number}")
    folder = client.download(detail["files"], client.cache.root / "refused" / receipt.label)
    return {path.name: _sha256(path.read_bytes()) for path in folder.iterdir()}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
