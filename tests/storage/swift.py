"""A real S3 server for the tests: OpenStack Swift with its S3 interface, on loopback, in a folder of its own.

Four processes (proxy, account, container, object), each with an ini file, and three rings of one device. No
memcached, no replication, nothing outside the folder. `serve()` starts it, waits for it, and ends it; if
this process dies, the kernel ends it.
"""

import contextlib
import ctypes
import dataclasses
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.ports import free_ports

ACCESS_KEY = "test:tester"
SECRET_KEY = "testing"
SERVERS = ("account", "container", "object", "proxy")

_SWIFT_CONF = """
[swift-hash]
swift_hash_path_suffix = adapterhub
swift_hash_path_prefix = adapterhub
[storage-policy:0]
name = gold
default = yes
"""

_COMMON = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
disable_fallocate = true
log_name = {server}
log_udp_host = 127.0.0.1
log_udp_port = {log_port}
log_level = ERROR
"""

_STORAGE = """
[pipeline:main]
pipeline = {server}-server
[app:{server}-server]
use = egg:swift#{server}
allow_versions = true
"""

_PROXY = """
[pipeline:main]
pipeline = catch_errors gatekeeper proxy-logging cache listing_formats bulk s3api tempauth copy slo dlo \
versioned_writes proxy-logging proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:proxy-logging]
use = egg:swift#proxy_logging
access_log_udp_host = 127.0.0.1
access_log_udp_port = {log_port}
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
error_suppression_limit = 0
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_versioned_writes = true
"""

_RINGS = """
import sys
from swift.common.ring import RingBuilder
folder, *ports = sys.argv[1:]
for name, port in zip(("account", "container", "object"), ports):
    ring = RingBuilder(4, 1, 1)
    ring.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port), "device": "sda", "weight": 1})
    ring.rebalance()
    ring.get_ring().save(f"{folder}/{name}.ring.gz")
"""


@dataclasses.dataclass(frozen=True)
class Server:
    """A running S3 server and how to reach it."""

    endpoint: str
    folder: Path
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY

    @property
    def environment(self) -> dict[str, str]:
        """The variables that point boto3 (and so HUB_STORAGE=s3://...) at this server."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def make_bucket(self, name: str) -> None:
        """Create a bucket, as an operator would before the first start."""
        import boto3
        from botocore import config

        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=config.Config(s3={"addressing_style": "path"}),
        )
        client.create_bucket(Bucket=name)


def missing() -> str:
    """Return why Swift cannot run here, or an empty string."""
    if importlib.util.find_spec("swift") is None:
        return "OpenStack Swift is not installed (pip install swift keystonemiddleware)"
    if sys.platform != "linux":
        return "OpenStack Swift runs on Linux only"
    if folder_with_xattrs() is None:
        return "no folder with user extended attributes found (set TMPDIR to one; Swift keeps metadata in them)"
    return ""


def folder_with_xattrs() -> Path | None:
    """Return a folder whose file system keeps user extended attributes: TMPDIR, the repository, /var/tmp."""
    for folder in (tempfile.gettempdir(), Path(__file__).parents[2] / "var", "/var/tmp", "/dev/shm"):
        if Path(folder).is_dir() and os.access(folder, os.W_OK) and _keeps_xattrs(folder):
            return Path(folder)
    return None


@contextlib.contextmanager
def serve() -> Iterator[Server]:
    """Start Swift on free ports in a new temporary folder; end it and remove the folder at the end."""
    parent = folder_with_xattrs()
    if parent is None:
        raise RuntimeError(missing())
    folder = Path(tempfile.mkdtemp(prefix="swift-", dir=parent))
    try:
        with contextlib.ExitStack() as stack:
            ports = _free_ports(stack)
            _configure(folder, ports)
            processes = {server: stack.enter_context(_process(server, folder)) for server in SERVERS}
            _wait(processes, ports, folder)
            yield Server(f"http://127.0.0.1:{ports['proxy']}", folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _keeps_xattrs(folder: str | Path) -> bool:
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        try:
            os.setxattr(file.name, "user.swift.metadata", b"x" * 1024)
        except OSError:
            return False
    return True


def _free_ports(stack: contextlib.ExitStack) -> dict[str, int]:
    """Return a free port per server, and one that swallows the log datagrams (it stays ours)."""
    log = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    log.bind(("127.0.0.1", 0))
    return {**dict(zip(SERVERS, free_ports(len(SERVERS)), strict=True)), "log": log.getsockname()[1]}


def _configure(folder: Path, ports: dict[str, int]) -> None:
    (folder / "devices" / "sda").mkdir(parents=True)
    (folder / "swift.conf").write_text(_SWIFT_CONF)
    user = pwd.getpwuid(os.geteuid()).pw_name
    for server in SERVERS:
        text = _COMMON + (_PROXY if server == "proxy" else _STORAGE)
        values = {"server": server, "folder": folder, "user": user, "log_port": ports["log"]}
        (folder / f"{server}.ini").write_text(text.format(port=ports[server], **values))
    numbers = [str(ports[server]) for server in ("account", "container", "object")]
    subprocess.run([sys.executable, "-W", "ignore", "-c", _RINGS, str(folder), *numbers], check=True)


@contextlib.contextmanager
def _process(server: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [str(Path(sys.executable).with_name(f"swift-{server}-server")), str(folder / f"{server}.ini")]
    with (
        open(folder / f"{server}.log", "wb") as log,
        subprocess.Popen(
            [sys.executable, "-W", "ignore", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=_die_with_parent,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()  # it holds nothing that is worth a farewell


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _wait(processes: dict[str, subprocess.Popen[bytes]], ports: dict[str, int], folder: Path) -> None:
    deadline = time.monotonic() + 60
    for server, process in processes.items():
        while not _listens(ports[server]):
            if process.poll() is not None or time.monotonic() > deadline:
                log = (folder / f"{server}.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"swift-{server}-server did not start:\n{log}")
            time.sleep(0.05)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
