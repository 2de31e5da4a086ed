"""The self-test tells what a store can do, and a store that lies is not used."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry.storage import base, filesystem, s3
from tests.storage import conftest
from tests.storage.conftest import S3


def test_a_fit_store_is_found_fit_and_left_as_it_was(side: conftest.Side):
    found = side.store.probe()
    assert found.require() is found
    assert all(capability.ok for capability in found.capabilities), str(found)
    assert side.list_keys() == []
    assert side.uploads() == []


def test_the_probe_is_printed_a_line_each(s3_side: S3):
    lines = str(s3_side.store.probe()).splitlines()
    assert lines[0] == f"storage s3://hub/{s3_side.prefix}"
    assert lines[1].split()[:3] == ["conditional", "write", "ok"]
    assert not any("testing" in line for line in lines)  # the secret key


def forget(side: S3, operation: str, *headers: str) -> None:
    """Make the server behave as if it did not know these headers: they are not even sent."""

    def strip(request: Any, **_: Any) -> None:
        for header in headers:
            del request.headers[header]

    for attempts in (s3.ATTEMPTS, 1):
        side.bucket._client(None, attempts).meta.events.register_first(f"before-sign.s3.{operation}", strip)


@pytest.mark.parametrize(
    ("operation", "headers", "capability"),
    [
        ("PutObject", ["If-None-Match"], "conditional write"),
        ("PutObject", ["x-amz-checksum-sha256"], "checksum"),
        ("UploadPart", ["Content-MD5"], "part checksum"),
        ("GetObject", ["If-Match"], "pinned read"),
        ("GetObject", ["Range"], "ranges"),
    ],
)
def test_a_store_that_ignores_what_it_is_asked_is_refused(
    s3_side: S3, operation: str, headers: list[str], capability: str
):
    forget(s3_side, operation, *headers)
    found = s3_side.store.probe()
    assert [c.name for c in found.capabilities if not c.ok] == [capability]
    with pytest.raises(base.UnfitStore, match=capability):
        found.require()
    assert s3_side.keys() == []


def test_a_store_that_takes_longer_uploads_than_signed_is_refused(
    make_s3: Callable[..., S3], monkeypatch: pytest.MonkeyPatch
):
    side, old = make_s3(), make_s3()
    with monkeypatch.context() as patch:
        patch.setitem(s3._CONFIG, "signature_version", "s3")  # the old signature leaves the length open
        monkeypatch.setattr(side.bucket, "sign", old.bucket.sign)
        old.bucket._client(None)
    with pytest.raises(base.UnfitStore, match=r"signed length: .* more bytes than were signed"):
        side.store.probe().require()


def test_parts_without_a_condition_are_told_and_tolerated(s3_side: S3):
    forget(s3_side, "CompleteMultipartUpload", "If-None-Match")
    found = s3_side.store.probe().require()
    assert [str(c).split()[:3] for c in found.capabilities if not c.ok] == [["conditional", "parts", "missing"]]


def test_a_folder_where_names_do_not_stay_is_refused(file_store: filesystem.FileStore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(filesystem, "_no_overwrite", os.replace)
    with pytest.raises(base.UnfitStore, match="no overwrite"):
        file_store.probe().require()


def test_a_file_system_without_links_will_do(file_store: filesystem.FileStore, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert file_store.probe().require()
    for _ in range(2):
        assert file_store.read(file_store.put(b"bytes").sha256) == b"bytes"


def test_a_folder_that_is_none_is_explained(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(base.StorageUnavailable, match="Check that the folder is mounted"):
        filesystem.FileStore(tmp_path / "file").probe()


def test_a_missing_bucket_is_explained(make_s3: Callable[..., S3]):
    side = make_s3()
    side.bucket.name = "nobody-made-it"
    with pytest.raises(base.StorageUnavailable, match="Create the bucket"):
        side.store.probe()


def test_wrong_credentials_are_explained(make_s3: Callable[..., S3], monkeypatch: pytest.MonkeyPatch):
    side = make_s3()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(base.StorageUnavailable, match="Check AWS_SECRET_ACCESS_KEY"):
        side.store.probe()
