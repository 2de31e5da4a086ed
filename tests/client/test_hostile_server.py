"""A hub that was taken over, or sits behind somebody who was: it gets nothing, and nothing out of the cache."""

import logging
import os
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings, strategies

from hub import errors, retrieval, verdicts
from hub.client import Client
from hub.transfer.wire import Wire
from tests.client import specimens
from tests.client.conftest import QUICK, quick
from tests.client.simulator import OWNER, Simulator

NAMES = [
    "/etc/cron.d/x", "../x", "a/../../x", "a/./b", "a//b", "..", ".", "", "C:\\x", "C:x", "a\\b", "..\\x", "\\\\host\\x",
    "CON", "con.txt", "a/NUL", "aux.json", "COM1", "lpt9.txt", "x.", "x ", "a\0b", "a\nb", "a\x1bb", "a\u202eb", "a\u200bb",
    "~root\x00", "x" * 300, "/".join("abcdefghijkl"), "e\u0301.md", "a:b", "a|b", "a?b", "a*b", 'a"b', "a<b", "\ud800",
    "file:///etc/passwd", "\u2028", "a/b/../../../c", "....//x", "%2e%2e/%2e%2e/../x", "PRN", "a/CON/b", " x",
]  # fmt: skip


def everything_below(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


def hostile(name: str, sim: Simulator) -> Callable[[dict[str, Any]], None]:
    """An edit of the resolve answer: this name, with a digest that is right for it."""
    from hub.spec.manifest import File, Manifest

    def edit(answer: dict[str, Any]) -> None:
        file = dict(answer["files"][0])
        file["path"] = name
        answer["files"] = [file, *answer["files"][1:]]
        try:
            files = tuple(File(f["path"], f["sha256"], f["size"]) for f in answer["files"])
            answer["digest"] = f"sha256:{Manifest(files).digest}"
        except ValueError:
            pass

    return edit


@pytest.mark.parametrize("name", NAMES, ids=ascii)
@pytest.mark.parametrize("to", [False, True], ids=["cache", "folder"])
def test_no_name_leads_out_of_the_cache(sim: Simulator, anybody: Client, tmp_path: Path, name: str, to: bool) -> None:
    sim.publish("library/a", specimens.lora())
    sim.faults.edit = hostile(name, sim)
    before = everything_below(tmp_path)
    with pytest.raises((errors.IntegrityError, errors.NetworkError)):
        anybody.pull("a", to=tmp_path / "mine" if to else None)
    new = everything_below(tmp_path) - before
    assert [path for path in new if not path.startswith(str(anybody.cache.root))] == []
    assert not (anybody.cache.root / "snapshots").exists()


def test_a_hundred_random_names_lead_nowhere(sim: Simulator, anybody: Client, tmp_path: Path) -> None:
    noise = random.Random(11)
    pieces = ["..", ".", "a", "/", "\\", "CON", "\0", "~", "C:", " ", "%2e", "\u2025", "x.json", "\n", "nul."]
    sim.publish("library/a", specimens.lora())
    anybody.cache.root.mkdir(parents=True)
    before = everything_below(tmp_path)
    for _ in range(100):
        sim.faults.edit = hostile("".join(noise.choices(pieces, k=noise.randrange(1, 7))), sim)
        try:
            anybody.pull("a")
        except errors.HubError:
            continue
    new = everything_below(tmp_path) - before
    assert [path for path in new if not path.startswith(str(anybody.cache.root))] == []


def test_without_the_defence_a_name_does_lead_out(
    sim: Simulator, anybody: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the same attack, with the check of names switched off."""
    sim.publish("library/a", specimens.lora())
    monkeypatch.setattr("hub.paths.check", lambda names, *, source: None)
    monkeypatch.setattr("hub.paths.inside", lambda root, name: root / name)
    sim.faults.edit = hostile(str(tmp_path / "outside"), sim)
    anybody.pull("a")
    assert (tmp_path / "outside").exists()


@pytest.mark.parametrize("names", [["a.md", "A.MD"], ["a", "a/b.md"], ["\u212aelvin.md", "kelvin.md"]], ids=ascii)
def test_names_that_collide_are_refused(sim: Simulator, anybody: Client, names: list[str]) -> None:
    sim.publish("library/a", {name: name.encode() for name in names})
    with pytest.raises(errors.IntegrityError):
        anybody.pull("a")


def test_a_flood_of_files_is_refused(sim: Simulator, anybody: Client) -> None:
    sim.publish("library/a", {f"{number}.txt": b"" for number in range(1001)})
    with pytest.raises(errors.IntegrityError, match="1001 files"):
        anybody.pull("a")


def test_other_files_than_the_pinned_digest_says_are_refused(sim: Simulator, anybody: Client) -> None:
    version = sim.publish("library/a", specimens.lora())

    def exchange(answer: dict[str, Any]) -> None:
        answer["files"][0]["sha256"] = "0" * 64

    sim.faults.edit = exchange
    with pytest.raises(errors.IntegrityError, match="other files"):
        anybody.pull(f"a@sha256:{version.manifest.digest}")


def test_another_version_than_the_pinned_one_is_refused(sim: Simulator, anybody: Client) -> None:
    old = sim.publish("library/a", specimens.lora())
    new = sim.publish("library/a", specimens.lora(seed=1))
    sim.find = lambda *_: new  # type: ignore[method-assign]
    with pytest.raises(errors.IntegrityError):
        anybody.pull(f"a@sha256:{old.manifest.digest}")


def test_inline_bytes_are_hashed_too(sim: Simulator, anybody: Client) -> None:
    sim.inline = 1 << 20
    sim.publish("library/a", specimens.lora())

    def exchange(answer: dict[str, Any]) -> None:
        answer["files"][0]["inline"] = "AAAA"

    sim.faults.edit = exchange
    with pytest.raises(errors.IntegrityError):
        anybody.pull("a")


def test_more_bytes_than_announced_are_not_read_to_the_end(sim: Simulator, anybody: Client) -> None:
    sim.publish("library/a", {"adapter_config.json": b"{}"})
    sim.faults.tamper = lambda data: data + bytes(64 << 20)
    with pytest.raises(errors.IntegrityError):
        anybody.pull("a")
    assert sum(sim.sent.values()) < 64 << 20


def test_a_link_in_the_cache_is_not_followed(sim: Simulator, anybody: Client, tmp_path: Path) -> None:
    files = specimens.lora()
    version = sim.publish("library/a", files)
    victim = tmp_path / "victim"
    victim.write_bytes(files["README.md"])
    file = version.manifest.get("README.md")
    assert file is not None
    blob = anybody.cache.blob(file.sha256)
    blob.parent.mkdir(parents=True)
    blob.symlink_to(victim)
    adapter = anybody.pull("a")
    assert not (adapter.path / "README.md").is_symlink()
    assert not blob.is_symlink()
    assert victim.read_bytes() == files["README.md"]


def test_a_link_in_the_place_of_a_users_folder_is_not_written_through(
    sim: Simulator, anybody: Client, tmp_path: Path
) -> None:
    sim.publish("library/a", specimens.lora())
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "mine").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(errors.UsageError):
        anybody.pull("a", to=tmp_path / "mine")
    assert os.listdir(tmp_path / "elsewhere") == []


# -- the token -----------------------------------------------------------------------------------------------------


def test_the_token_does_not_follow_a_redirect_to_another_host(sim: Simulator, owner: Client) -> None:
    version = sim.publish("owner/a", specimens.lora(), private=True)
    by_path = {f.path: f.sha256 for f in version.manifest.files}

    def elsewhere(where: str) -> str | None:
        server, path = where.split(" ")
        return sim.sign(f"blobs/{by_path[path.split('/')[-1]]}") if server == "api" else None

    sim.faults.redirect = elsewhere
    assert owner.pull("owner/a").version == "1"
    tokens = {entry.server: entry.token for entry in sim.seen if "/me" not in entry.path}
    assert tokens["api"] == f"Bearer {OWNER}"
    assert all(entry.token is None for entry in sim.seen if entry.server == "store")
    assert any(entry.server == "store" for entry in sim.seen)


def test_a_presigned_address_never_sees_the_token(store_sim: Simulator) -> None:
    store_sim.publish("owner/a", specimens.lora(), private=True)
    with quick(store_sim.url, OWNER) as client:
        client.pull("owner/a")
    assert all(entry.token is None for entry in store_sim.seen if entry.server == "store")
    assert all(entry.token for entry in store_sim.seen if entry.server == "api")


def test_a_token_does_not_come_back_from_a_foreign_host(sim: Simulator, owner: Client) -> None:
    sim.publish("owner/a", specimens.lora(), private=True)
    hops = {"api": 0}

    def away_and_back(where: str) -> str | None:
        server, path = where.split(" ")
        hops[server] = hops.get(server, 0) + 1
        if server == "store":
            return f"{sim.url}{path.removeprefix('/blobs')}"
        return f"{sim.store}/blobs{path}?x=1" if hops["api"] == 1 else None

    sim.faults.redirect = away_and_back
    with pytest.raises(errors.NotFound):
        owner.pull("owner/a")


def test_redirects_do_not_go_round_for_ever(sim: Simulator, anybody: Client) -> None:
    sim.publish("library/a", specimens.lora())
    anybody.wire.retry = QUICK
    sim.faults.redirect = lambda where: f"{sim.url}{where.split(' ')[1]}"
    with pytest.raises(errors.NetworkError, match="redirects"):
        anybody.pull("a")


def test_https_never_becomes_http() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/api/v1/me":
            return httpx2.Response(302, headers={"Location": "http://hub.example/api/v1/me"})
        return httpx2.Response(200, json={})

    wire = Wire("https://hub.example", OWNER, transport=httpx2.MockTransport(answer), retry=QUICK)
    with pytest.raises(errors.NetworkError, match="https to http"):
        wire.request("GET", "me")
    with pytest.raises(errors.NetworkError, match="without encryption"), wire.open("http://hub.example/x"):
        pass


def test_a_post_is_not_redirected(sim: Simulator, owner: Client) -> None:
    sim.faults.answers.append((307, None, {"Location": f"{sim.store}/api/v1/x"}))
    with pytest.raises(errors.NetworkError, match="redirects a POST"):
        owner.request("POST", "base-models", json={})
    assert all(entry.server == "api" for entry in sim.seen)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "//evil.example/x", "gopher://x"])
def test_an_address_that_is_not_http_is_refused(sim: Simulator, anybody: Client, url: str) -> None:
    sim.publish("library/a", specimens.lora())

    def exchange(answer: dict[str, Any]) -> None:
        for file in answer["files"]:
            file["url"] = url

    sim.faults.edit = exchange
    with pytest.raises(errors.NetworkError):
        anybody.pull("a")


def test_no_error_shows_a_token_or_a_signature(sim: Simulator, owner: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    told = f"the token {OWNER} at https://s3.example/x?X-Amz-Signature=deadbeef&a=1 (https://me:secret@host/)"
    sim.faults.answers.append((403, {"code": "forbidden", "detail": told, "hint": told}, {}))
    with pytest.raises(errors.AuthError) as caught:
        owner.whoami()
    for text in (
        str(caught.value),
        repr(caught.value),
        str(caught.value.to_json()),
        repr(owner),
        repr(owner.settings),
        caplog.text,
    ):
        assert OWNER not in text
        assert "deadbeef" not in text
        assert "secret" not in text


def test_two_hubs_with_the_same_name_are_never_mixed_up(sim: Simulator, anybody: Client) -> None:
    """Dependency confusion: a bare name is asked of the configured hub only."""
    with Simulator() as other:
        other.publish("library/a", specimens.lora(seed=9))
        with pytest.raises(errors.NotFound):
            anybody.pull("a")
        assert other.seen == []


def test_a_json_bomb_is_no_crash(sim: Simulator, anybody: Client) -> None:
    bomb = httpx2.MockTransport(lambda request: httpx2.Response(200, content=b"[" * 200_000))
    with pytest.raises(errors.NetworkError):
        Wire("http://hub.example", transport=bomb, retry=QUICK).request("GET", "me")


@settings(max_examples=200, deadline=None)
@given(strategies.text(max_size=40))
def test_no_name_of_a_users_changes_the_path_that_is_asked(name: str) -> None:
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.raw_path.decode())
        return httpx2.Response(200, json={})

    wire = Wire("http://hub.example", transport=httpx2.MockTransport(answer), retry=QUICK)
    wire.request("GET", f"base-models/{verdicts.segment(name)}")
    assert re.fullmatch(r"/api/v1/base-models/[A-Za-z0-9._~%:-]*", asked[0])
    try:
        wire.request("GET", verdicts.version_path(retrieval.parse(name).repo, "latest"))
    except errors.UsageError:
        return
    assert re.fullmatch(r"/api/v1/adapters/[\w.-]+/[\w.-]+/versions/latest", asked[1])
