"""Children: kept alive, given up, stopped, and never left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.embedded import supervisor as supervision
from registry.embedded.errors import EmbeddedError, StoppedError
from registry.embedded.folder import Folder, adopt, given
from registry.embedded.programs import Programs
from registry.embedded.supervisor import Program, Supervisor
from tests.system.hubs import ROOT, is_alive, wait_for

IGNORES_SIGTERM = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(99)"
)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def supervisor(told: list[str]) -> Iterator[Supervisor]:
    chosen = Supervisor(told.append)
    yield chosen
    chosen.stop_all()


def python(folder: Path, code: str, name: str = "child", **more: object) -> Program:
    """A program in Python."""
    line = (sys.executable, "-c", code)
    return Program(name=name, line=line, log=folder / f"{name}.log", cwd=folder, **more)  # type: ignore[arg-type]


def test_a_child_that_keeps_failing_ends_the_hub_with_its_last_words(
    tmp_path: Path, supervisor: Supervisor, told: list[str]
) -> None:
    supervisor.start(python(tmp_path, "raise SystemExit('no way')", vital=True))
    with pytest.raises(EmbeddedError, match=r"child ended unexpectedly \(exit 1\) 5 times in a row(.|\n)*no way"):
        supervisor.wait_until(lambda: False, 60, "forever")
    assert len(told) == supervision.FAILURES - 1


def test_a_child_that_is_not_vital_is_started_for_ever_and_somebody_is_told(
    tmp_path: Path, supervisor: Supervisor, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "LONGEST_PAUSE", 0.05)
    supervisor.start(python(tmp_path, "raise SystemExit('junk in the queue')"))
    supervisor.wait_until(lambda: len(told) > 2 * supervision.FAILURES, 60, "many deaths")
    loud = [line for line in told if "goes on without it" in line]
    assert len(loud) == 1
    assert "junk in the queue" in loud[0]


def test_the_pauses_grow_up_to_a_minute(
    tmp_path: Path, supervisor: Supervisor, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    child = supervisor.start(python(tmp_path, "raise SystemExit(1)"))
    wait_for(lambda: not child.alive, 10)
    pauses = []
    monkeypatch.setattr(supervision.time, "monotonic", lambda: child.started)
    for _ in range(40):
        supervisor._mourn(child)
        pauses.append(round((child.due or 0.0) - child.started, 1))
    monkeypatch.undo()
    child.due = None
    assert pauses[:4] == [0.0, 0.4, 0.8, 1.6]
    assert max(pauses) == pauses[-1] == 60.0


def test_only_servers_may_end_the_hub(tmp_path: Path) -> None:
    programs = Programs(Folder(tmp_path), {"HUB_WORKER_BROKER_URL": ""})
    others = (programs.relay(), programs.jobs(), programs.worker(1, "http://x", "t"))
    assert programs.web(0, 1, 1).vital
    assert not any(program.vital for program in others)


def test_the_limits_of_a_run_reach_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_RUN_SECONDS", "60")
    monkeypatch.setenv("HUB_RUN_MEMORY_GB", "2")
    monkeypatch.setenv("HUB_TOKEN", "the caller's own")
    env = Programs(Folder(tmp_path), {"HUB_WORKER_BROKER_URL": ""}).worker(1, "http://x", "t").env or {}
    assert (env["HUB_RUN_SECONDS"], env["HUB_RUN_MEMORY_GB"], "HUB_TOKEN" in env) == ("60", "2", False)


def test_what_comes_by_file_does_not_clash_with_what_we_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_URL_FILE", str(tmp_path / "broker"))
    monkeypatch.setenv("HUB_SECRET_KEY_FILE", str(tmp_path / "key"))
    env = Programs(Folder(tmp_path), {"BROKER_URL": "redis://x"}).relay().env or {}
    assert env["BROKER_URL"] == "redis://x"
    assert "BROKER_URL_FILE" not in env
    assert env["HUB_SECRET_KEY_FILE"]


def test_an_address_is_given_plainly_or_by_file_and_not_both(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://x\n")
    by_file = {"BROKER_URL_FILE": str(tmp_path / "url")}
    assert given("BROKER_URL", by_file) == given("BROKER_URL", {"BROKER_URL": "redis://x"}) == "redis://x"
    assert given("BROKER_URL", {"BROKER_URL": ""}) is None
    with pytest.raises(EmbeddedError, match="both"):
        given("BROKER_URL", by_file | {"BROKER_URL": "redis://y"})
    with pytest.raises(EmbeddedError, match="cannot be read"):
        given("BROKER_URL", {"BROKER_URL_FILE": str(tmp_path / "nothing")})


def test_a_command_with_a_database_by_file_adopts_no_other(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write_note({"environment": {"DATABASE_URL": "postgresql://ours", "HUB_PUBLIC_URL": "http://ours"}})
    environment = {"DATABASE_URL_FILE": "/run/secrets/database"}
    assert not adopt(environment, tmp_path)
    assert list(environment) == ["DATABASE_URL_FILE"]
    environment = {"HUB_PUBLIC_URL_FILE": "/etc/hub/address"}
    assert adopt(environment, tmp_path)
    assert environment == {"HUB_PUBLIC_URL_FILE": "/etc/hub/address", "DATABASE_URL": "postgresql://ours"}


def test_a_child_that_is_killed_from_outside_is_not_at_fault(
    tmp_path: Path, supervisor: Supervisor, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "LONGEST_PAUSE_WHEN_KILLED", 0.05)
    child = supervisor.start(python(tmp_path, "import time; time.sleep(99)"))
    for _ in range(supervision.FAILURES * 2):
        victim = child.process
        victim.kill()
        supervisor.wait_until(lambda victim=victim: child.process is not victim, 10, "the next start")
    assert child.alive
    assert len(told) == supervision.FAILURES * 2


def test_a_child_that_lived_long_begins_anew(
    tmp_path: Path, supervisor: Supervisor, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "QUICK_SECONDS", 0.0)
    supervisor.start(python(tmp_path, "raise SystemExit(3)"))
    supervisor.wait_until(lambda: len(told) > supervision.FAILURES, 30, "some deaths")
    assert all(line == "child ended unexpectedly (exit 3); starting it again" for line in told)


def test_a_deaf_child_is_killed_in_the_end(tmp_path: Path, supervisor: Supervisor) -> None:
    child = supervisor.start(python(tmp_path, IGNORES_SIGTERM, stop=((signal.SIGTERM, 0.3),)))
    wait_for(lambda: "deaf" in (tmp_path / "child.log").read_text(), 10)
    begin = time.monotonic()
    supervisor.stop_all()
    assert 0.3 <= time.monotonic() - begin < 5
    assert not is_alive(child.process.pid)


def test_what_a_child_leaves_behind_goes_with_it(tmp_path: Path, supervisor: Supervisor) -> None:
    code = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)']);"
        "print(p.pid, flush=True); p.wait()"
    )
    supervisor.start(python(tmp_path, code))
    log = tmp_path / "child.log"
    wait_for(lambda: log.read_text().strip().isdigit(), 10)
    supervisor.stop_all()
    wait_for(lambda: not is_alive(int(log.read_text())), 5)


def test_children_stop_in_the_order_of_their_stages(tmp_path: Path, supervisor: Supervisor) -> None:
    order = tmp_path / "order"
    code = (
        "import signal, sys, time\n"
        "def end(*_):\n    time.sleep(0.2); open({0!r}, 'a').write({1!r}); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end); print('up', flush=True); time.sleep(99)"
    )
    for stage, name in ((2, "c"), (0, "a"), (1, "b")):
        supervisor.start(python(tmp_path, code.format(str(order), name), name=name, stage=stage))
    wait_for(lambda: all("up" in (tmp_path / f"{name}.log").read_text() for name in "abc"), 10)
    supervisor.stop_all()
    assert order.read_text() == "abc"


def test_an_order_to_stop_ends_every_wait(tmp_path: Path, supervisor: Supervisor) -> None:
    with supervisor.signals():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(StoppedError):
            supervisor.wait_until(lambda: False, 10, "forever")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has a death signal")
def test_a_child_dies_with_its_parent_however_that_dies(tmp_path: Path) -> None:
    code = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from registry.embedded import supervisor
line = (sys.executable, "-c", "import time; time.sleep(99)")
program = supervisor.Program(name="child", line=line, log=Path("child.log"), cwd=Path.cwd())
print(supervisor.spawn(program).pid, flush=True)
time.sleep(99)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE)
    assert parent.stdout
    child = int(parent.stdout.readline())
    wait_for(lambda: b"time.sleep(99)" in Path(f"/proc/{child}/cmdline").read_bytes()[:200], 10)
    parent.kill()
    parent.wait()
    wait_for(lambda: not is_alive(child), 5)


def test_a_command_that_fails_says_why(tmp_path: Path, supervisor: Supervisor) -> None:
    with pytest.raises(EmbeddedError, match=r"once failed \(exit 1\)(.|\n)*broken"):
        supervisor.run_once(python(tmp_path, "raise SystemExit('broken')", name="once"), 10)
    supervisor.run_once(python(tmp_path, "print('fine')", name="twice"), 10)
    with pytest.raises(EmbeddedError, match="longer than"):
        supervisor.run_once(python(tmp_path, "import time; time.sleep(99)", name="slow"), 0.5)


def test_a_big_log_is_set_aside(tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "LOG_BYTES", 10)
    for _ in range(2):
        supervisor.run_once(python(tmp_path, "print('a long enough line')"), 10)
    assert (tmp_path / "child.1.log").read_text() == (tmp_path / "child.log").read_text()


def test_the_terminal_follows_the_logs_when_asked(tmp_path: Path, told: list[str]) -> None:
    following = Supervisor(told.append, follow=True)
    following.run_once(python(tmp_path, "print('hello')"), 10)
    assert told == ["child    | hello"]
