"""Push: send what the hub lacks of a prepared folder, resumable and keyed by content, and complete the upload."""

import logging
import os
from collections.abc import Mapping
from typing import Any

from hub import errors
from hub.preparation import Prepared
from hub.spec import documents, reference
from hub.transfer import upload
from hub.transfer.progress import Progress
from hub.transfer.wire import Answer, Wire
from hub.verdicts import Report, page_of, segment

FINISHED = frozenset({"failed", "expired"})
MAX_REPLAYS = 20
logger = logging.getLogger("hub")


def send(
    wire: Wire,
    prepared: Prepared,
    ref: reference.Reference,
    *,
    version: str | None = None,
    private: bool = False,
    message: str = "",
    quiet: bool = False,
) -> Report:
    """Uploads and completes. Returns what the hub says about the new version; the verdict may not be in it yet.

    The same content under the same name is the same upload, however often and from wherever it is sent. Raises Rejected
    when the hub refuses it at once.
    """
    body = {
        "manifest": {"files": [file.to_json() for file in prepared.manifest.files]},
        "version": version,
        "private": private,
        "message": message,
        "facts": dict(prepared.facts) or None,
    }
    key = documents.digest({"push": 1, "repo": ref.repo, "digest": prepared.manifest.digest, **body})
    for _ in range(MAX_REPLAYS):
        started = _start(wire, ref, body, key)
        answer = started.data
        # open is as good as new: the answer that said 201 may have been lost, and what comes of it is this push's own
        ours = started.status == 201 or answer.get("state") == "open"
        if ours or answer.get("state") not in FINISHED:
            done = _finish(wire, prepared, answer, quiet)
            if ours or not _is_over(wire, done):
                return done
        # this very content was sent before and got nowhere: push it as new, under the key that everybody derives
        key = documents.digest({"after": key, "upload": str(answer.get("id"))})
    raise errors.Conflict(
        "this content was pushed and refused too many times", hint="change the adapter, or wait a day"
    )


def _start(wire: Wire, ref: reference.Reference, body: Mapping[str, Any], key: str) -> Answer:
    path = f"adapters/{segment(ref.namespace)}/{segment(ref.name)}/uploads"
    for _ in range(3):
        try:
            answer = wire.request("POST", path, json=body, headers={"Idempotency-Key": key})
        except errors.HubError as error:
            if error.code != "gone":
                raise
            key = documents.digest({"after": key, "nonce": os.urandom(16).hex()})  # that upload has expired
            continue
        if not isinstance(answer.data, dict) or "id" not in answer.data:
            raise errors.NetworkError("the hub's answer to the upload cannot be read", hint="check HUB_ENDPOINT")
        return answer
    raise errors.NetworkError("the hub lets every upload expire at once", hint="is its clock right?")


def _finish(wire: Wire, prepared: Prepared, started: Mapping[str, Any], quiet: bool) -> Report:
    number = segment(str(started["id"]))
    wanted = dict(started)
    for _ in range(3):
        _send_all(wire, prepared, number, wanted, quiet)
        try:
            answer = wire.request("POST", f"uploads/{number}/complete", json={}, idempotent=True).data
        except errors.Rejected as error:
            raise _with_report(wire, error) from None
        except errors.Conflict as error:
            if error.code != "incomplete":
                raise
            wanted = wire.request("GET", f"uploads/{number}").data
            continue
        return _as_report(answer)
    raise errors.NetworkError("the hub keeps losing bytes of this upload", hint="tell its owner")


def _send_all(wire: Wire, prepared: Prepared, number: str, wanted: Mapping[str, Any], quiet: bool) -> None:
    blobs = [blob for blob in wanted.get("blobs") or [] if isinstance(blob, dict)]
    with Progress(sum(int(blob["size"]) for blob in blobs), "push", quiet=quiet) as progress:
        for blob in blobs:
            path = str(blob["path"])
            file = prepared.manifest.get(path)
            if file is None or file.sha256 != blob.get("sha256"):
                raise errors.NetworkError(f"the hub asks for {path!r}, which was not offered to it")
            upload.send(
                wire,
                upload.Source(path, file.size, lambda path=path: prepared.snapshot.open(path)),  # type: ignore[misc]
                upload.Destination.from_json(blob),
                look=lambda n=blob["n"]: _look(wire, number, int(n)),  # type: ignore[misc]
                progress=progress,
            )


def _look(wire: Wire, number: str, n: int) -> upload.Destination:
    """The state of one blob now; one that is no longer asked for has arrived whole."""
    answer = wire.request("GET", f"uploads/{number}").data
    for blob in answer.get("blobs") or []:
        if int(blob["n"]) == n:
            return upload.Destination.from_json(blob)
    raise errors.NetworkError(f"upload {number} no longer asks for file {n}")


def _as_report(answer: Mapping[str, Any]) -> Report:
    detail = dict(answer.get("version") or {})
    status = str(answer.get("status") or detail.get("status") or "")
    return Report(
        verdict=None,
        status=status,
        version=detail.get("ref") or f"{detail.get('adapter')}:{detail.get('version')}",
        number=detail.get("number"),
        digest=detail.get("digest"),
        rewritten=detail.get("rewritten") or [],
        adapter=detail.get("adapter"),
        stage=detail.get("stage"),
        queue=detail.get("queue"),
        report_url=answer.get("report_url") or detail.get("report_url"),
        page_url=detail.get("page_url"),
    )


def _is_over(wire: Wire, done: Report) -> bool:
    """True for a version of an earlier push that was refused or never judged: pushing again means to ask again."""
    if done.status == "rejected":
        return True
    if done.status != "validating" or not done.get("report_url"):
        return False
    told = wire.request("GET", str(done["report_url"])).data
    return isinstance(told, dict) and told.get("verdict") == "error"


def _with_report(wire: Wire, error: errors.Rejected) -> errors.Rejected:
    where = error.data.get("report_url")
    if isinstance(where, str):
        try:
            error.report = dict(wire.request("GET", where).data or {})
            error.page = page_of(wire.endpoint, error.report)
        except errors.HubError as trouble:
            logger.debug("the report of the refused version cannot be read: %s", trouble)
    detail = error.data.get("version")
    name = detail.get("ref") if isinstance(detail, dict) else None
    error.message = f"{name or 'the push'} was rejected" if error.problems else error.message
    return error
