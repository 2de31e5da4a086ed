"""Both stores, one on a real S3 server, and a client that sends files to either."""

import dataclasses
import hashlib
import io
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from registry.storage import base, filesystem, s3, s3_store
from tests.storage import swift

BUCKET = "hub"


@pytest.fixture(scope="session")
def swift_server() -> Iterator[swift.Server]:
    """OpenStack Swift with an empty bucket."""
    if why := swift.missing():
        pytest.skip(why)
    with swift.serve() as server:
        server.make_bucket(BUCKET)
        yield server


@dataclasses.dataclass
class S3:
    """An S3 store under a prefix of its own, with the bucket as its operator sees it."""

    store: s3_store.S3Store
    bucket: s3.Bucket
    prefix: str
    server: swift.Server

    def sibling(self) -> "S3":
        """Another empty store in the same bucket."""
        prefix = f"test/{uuid.uuid4().hex}"
        return dataclasses.replace(self, store=s3_store.S3Store(self.bucket, prefix), prefix=prefix)

    @property
    def events(self) -> Any:
        """The hooks of the S3 client: what is sent can be counted, delayed and falsified here."""
        return self.bucket._client(None).meta.events

    def keys(self, folder: str = "") -> list[str]:
        """The objects below a folder of the store, without the prefix."""
        found = self.bucket.pages("list_objects_v2", "Contents", Prefix=f"{self.prefix}/{folder}")
        return [entry["Key"].removeprefix(f"{self.prefix}/") for entry in found]

    def uploads(self) -> list[str]:
        """The open multipart uploads of the store, by key."""
        found = self.bucket.pages("list_multipart_uploads", "Uploads", Prefix=f"{self.prefix}/")
        return [entry["Key"].removeprefix(f"{self.prefix}/") for entry in found]

    def write(self, key: str, data: bytes) -> None:
        """Put bytes past the store, as a rotting disk or a thief would."""
        self.bucket.call("put_object", Key=f"{self.prefix}/{key}", Body=data)


@pytest.fixture
def make_s3(swift_server: swift.Server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., S3]:
    """Return a maker of S3 stores; the endpoint may be another than Swift itself (a proxy)."""

    def make(endpoint: str | None = None, public_endpoint: str | None = None) -> S3:
        for name, value in swift_server.environment.items():
            monkeypatch.setenv(name, value)
        if endpoint:
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        bucket, prefix = s3.Bucket(BUCKET, public_endpoint=public_endpoint), f"test/{uuid.uuid4().hex}"
        return S3(s3_store.S3Store(bucket, prefix), bucket, prefix, swift_server)

    return make


@pytest.fixture
def s3_side(make_s3: Callable[..., S3]) -> S3:
    """An empty S3 store."""
    return make_s3()


@pytest.fixture
def file_store(tmp_path: Path) -> filesystem.FileStore:
    """An empty store in a folder whose name has a space."""
    return filesystem.FileStore(tmp_path / "blob store")


@dataclasses.dataclass
class Side:
    """A store and what only an operator can do to it."""

    store: base.BlobStore
    write: Callable[[str, bytes], None]
    list_keys: Callable[[], list[str]]
    uploads: Callable[[], list[str]]


@pytest.fixture(params=["filesystem", "s3"])
def side(request: pytest.FixtureRequest) -> Side:
    """Each store in turn."""
    if request.param == "s3":
        found: S3 = request.getfixturevalue("s3_side")
        return Side(found.store, found.write, found.keys, found.uploads)
    store: filesystem.FileStore = request.getfixturevalue("file_store")
    return Side(store, lambda key, data: overwrite(store.root / key, data), lambda: files(store.root), list)


@pytest.fixture
def store(side: Side) -> base.BlobStore:
    """Each store in turn, as the registry sees it."""
    return side.store


def overwrite(path: Path, data: bytes) -> None:
    """Put bytes past the store, as a rotting disk or a thief would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.chmod(0o600)
    path.write_bytes(data)


def files(root: Path) -> list[str]:
    """The files below a folder, by relative path."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def send(store: base.BlobStore, key: str, data: bytes) -> None:
    """Send a file as a client does, by presigned requests or through the registry, and finish it."""
    parts = store.upload_urls(key, len(data))
    if parts is None:
        store.put_staging(key, io.BytesIO(data), 0, limit=len(data))
    for part in parts or []:
        content = data[part["offset"] : part["offset"] + part["size"]]
        assert httpx.put(part["url"], content=content).status_code == 200
    store.finish_staging(key, len(data))


def new_key(n: int = 0) -> str:
    """A staging key as the services make it."""
    return f"{uuid.uuid4()}/{n}"


def sha256(data: bytes) -> str:
    """The digest by which a blob of these bytes is known."""
    return hashlib.sha256(data).hexdigest()


def blobs(side: Side) -> list[str]:
    """The digests under which something is stored."""
    return [key.rsplit("/", 1)[1] for key in side.list_keys() if key.startswith("sha256/")]
