"""Settings, tokens, remembered base models."""

import json
import stat
from pathlib import Path

import pytest

from hub import config, errors
from hub.client import Client
from tests.client.simulator import OWNER, STRANGER, Simulator


def test_without_anything_set_the_local_hub_is_meant(home: Path) -> None:
    settings = config.read()
    assert (settings.endpoint, settings.token, settings.offline) == ("http://127.0.0.1:8000", None, False)
    assert settings.cache == home / ".cache" / "adapter-hub"
    assert settings.folder == home / ".config" / "adapter-hub"


def test_an_argument_wins_over_the_environment_and_that_over_the_file(home: Path) -> None:
    config.store_token(config.read(), OWNER)
    environ = {"HUB_TOKEN": STRANGER}
    assert config.read(environ={}).token == OWNER
    assert config.read(environ=environ).token == STRANGER
    assert config.read(token="given", environ=environ).token == "given"


def test_the_environment_names_folders(tmp_path: Path) -> None:
    environ = {
        "HUB_CACHE": str(tmp_path / "c"),
        "HUB_BASES": f"{tmp_path}/a:{tmp_path}/b",
        "XDG_CONFIG_HOME": str(tmp_path),
    }
    settings = config.read(environ=environ)
    assert settings.cache == tmp_path / "c"
    assert settings.bases == (tmp_path / "a", tmp_path / "b")
    assert settings.folder == tmp_path / "adapter-hub"


@pytest.mark.parametrize(
    "text", ["", "hub.example", "ftp://hub.example", "http://", "http://me:pw@hub.example", "http://h:x", "http://h/?q"]
)
def test_what_is_no_address_is_told(text: str) -> None:
    with pytest.raises(errors.UsageError):
        config.check_endpoint(text)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("https://Hub.Example/", "https://hub.example"),
        ("http://127.0.0.1:8000//", "http://127.0.0.1:8000"),
        ("http://[::1]:8000/hub/", "http://[::1]:8000/hub"),
    ],
)
def test_an_address_has_one_spelling(text: str, same: str) -> None:
    assert config.check_endpoint(text) == same


def test_a_token_is_kept_for_its_owner_only_and_for_its_hub_only() -> None:
    path = config.store_token(config.read(endpoint="http://one.example"), OWNER)
    config.store_token(config.read(endpoint="http://two.example"), STRANGER)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert config.read(endpoint="http://one.example").token == OWNER
    assert config.read(endpoint="http://two.example").token == STRANGER
    assert config.read(endpoint="http://three.example").token is None


def test_a_token_file_that_others_could_read_is_closed() -> None:
    path = config.store_token(config.read(), OWNER)
    path.chmod(0o644)
    assert config.read().token == OWNER
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_broken_token_file_is_named(home: Path) -> None:
    path = home / ".config" / "adapter-hub" / "token.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(errors.UsageError, match=r"token\.json"):
        config.read()


def test_the_checksum_is_the_hubs() -> None:
    assert config.checksum("0" * 30) == config.check_token(f"ahub_{'0' * 30}{config.checksum('0' * 30)}")[-6:]
    assert len(OWNER) == 41


@pytest.mark.parametrize(
    "token", ["", "ahub_", OWNER[:-1], OWNER[:-1] + "x", OWNER[:9] + "P" + OWNER[10:], "hf_" + OWNER[5:]]
)
def test_a_mistyped_token_is_told_without_asking_the_hub(sim: Simulator, anybody: Client, token: str) -> None:
    with pytest.raises(errors.AuthError) as told:
        anybody.login(token)
    assert sim.seen == []
    assert token == "" or token not in str(told.value).replace("ahub_ and", "")


def test_a_login_is_kept_and_a_logout_forgets(sim: Simulator, anybody: Client) -> None:
    assert anybody.login(OWNER)["user"] == "owner"
    with Client() as client:
        assert client.whoami()["user"] == "owner"
        assert client.logout()
        assert not client.logout()
    with Client() as client, pytest.raises(errors.AuthError, match="hub login"):
        client.whoami()


def test_a_token_that_the_hub_does_not_know_is_not_kept(sim: Simulator, anybody: Client) -> None:
    with pytest.raises(errors.AuthError, match="unknown"):
        anybody.login(STRANGER)
    assert config.read().token is None


def test_a_token_with_a_line_break_never_reaches_a_header() -> None:
    with pytest.raises(errors.AuthError):
        Client("http://hub.example", "ahub_x\r\nEvil: 1")


def test_base_models_are_remembered(tmp_path: Path) -> None:
    settings = config.read()
    config.remember_base(settings, "base:1", tmp_path, "one")
    config.remember_base(settings, "base:2", tmp_path, None)
    assert config.remembered_bases(settings)["base:1"] == {"folder": str(tmp_path), "name": "one"}
    assert len(json.loads((settings.folder / "bases.json").read_text())) == 2
