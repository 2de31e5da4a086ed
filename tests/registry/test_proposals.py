"""An adapter that names no base model is told which ones it fits, best first."""

import copy
import json

import pytest

from tests.registry import adapters
from tests.registry.cast import Caller
from tests.registry.test_fits import other_values, tiny, wider

pytestmark = pytest.mark.django_db


def unnamed(name: object = None, hub: dict | None = None) -> dict[str, bytes]:
    """An adapter whose configuration names its base model so, and whose hub.json says nothing of it."""
    files = adapters.lora(config=adapters.lora_config(base_model_name_or_path=name), hub=hub)
    del files["hub.json"]
    return files


def proposals(who: Caller, files: dict[str, bytes], ref: str = "acme/unnamed", **more) -> list[str]:
    """Push, be refused, and return the names that are proposed; in the answer as in the report."""
    refused = who.push(ref, files, **more)
    assert (refused.status, refused["code"]) == (422, "rejected"), refused.json
    names = [one["name"] for one in refused["proposals"]]
    asked = [one for one in refused["problems"] if "base" in one["code"] or one["where"] == "hub.json: base"]
    if names:
        assert asked[0]["hint"].startswith(f"It fits {', '.join(names)}: push with --base {names[0]}.")
    report = who.get(refused["report_url"])
    told = [one for one in report.json["checks"] if one["name"] == "config"]
    assert all(one["hint"] not in one["message"] for one in told if one["hint"]), "the mend is said once"
    assert [one["name"] for one in report.json.get("proposals", [])] == names
    return names


@pytest.fixture
def several(base, worker, admin, owner, published) -> None:
    """tiny-bert, on which an adapter was published; two observed ones, one claimed, one too wide, one located."""
    for name in ("b-bert", "a-bert"):
        given = tiny(lambda leaf, name=name: [*leaf[:3], (name.encode().hex() * 8)[:64].ljust(64, "0")])
        worker.post("base-models", given)
        admin.post("base-models", {**given, "name": name})
    owner.post("base-models", {**tiny(other_values), "name": "acme/a-claimed"})
    admin.post("base-models", {**tiny(wider, hidden_size=64), "name": "a-wide"})
    headers = tiny()
    admin.post(
        "base-models/located",
        {
            **{key: headers[key] for key in ("config", "tokenizer_digest")},
            "name": "a-located", "source": "org/a", "revision": "c" * 40,
            "tensors": [leaf[:3] for leaf in headers["leaves"]],
            "files": [{"path": "model.safetensors", "size": 7, "sha256": "0" * 64}],
        },
    )  # fmt: skip


BEST_FIRST = ["tiny-bert", "a-bert", "b-bert", "acme/a-claimed", "a-located"]


@pytest.mark.parametrize("name", [None, "", "None", "/home/me/model", "./ckpt", "C:\\models\\bert"])
def test_what_is_no_name_is_answered_with_the_bases_that_fit(several, owner, name) -> None:
    assert proposals(owner, unnamed(name)) == BEST_FIRST


@pytest.mark.parametrize("said", ["", "/home/me/model", "./ckpt", "C:\\models\\bert"])
def test_so_it_is_where_hub_json_says_it(several, owner, said: str) -> None:
    files = adapters.lora(hub={"base": said})
    assert proposals(owner, files, facts={"base": said}) == BEST_FIRST


def test_a_name_that_is_not_known_is_refused_before_a_byte_travels(several, owner) -> None:
    files = adapters.lora(hub={"base": "org/unknown"})
    assert owner.push("acme/x", files, facts={"base": "org/unknown"})["code"] == "unknown_base"
    assert proposals(owner, files) == BEST_FIRST


def test_who_has_only_looked_at_an_adapter_may_ask_too(several, anybody) -> None:
    needs = [{f"encoder.layer.{n}.attention.self.query": {"out": 32, "in": 32} for n in range(2)}]
    found = anybody.post("compat/bases", {"needs": needs})
    assert [one["name"] for one in found["results"]] == BEST_FIRST
    assert anybody.post("compat/bases", {"needs": [*needs, {"pooler.dense": {"in": 48}}]})["results"] == []
    for bad in ([], [{"x": {"out": "many"}}], [{"x": {"out": -1}}], [{"x": 1}], "x", [{"x": {"out": 2**60}}]):
        assert anybody.post("compat/bases", {"needs": bad}).status == 422


def test_at_most_five_are_proposed(several, admin, owner) -> None:
    for n in range(3):
        admin.post("base-models", {**tiny(lambda leaf, n=n: [*leaf[:3], f"{n}" * 64]), "name": f"x-{n}"})
    assert proposals(owner, unnamed()) == [*BEST_FIRST[:4], "x-0"]


def test_what_fits_nothing_is_proposed_nothing(base, owner) -> None:
    files = adapters.lora(weights=adapters.safetensors(adapters.lora_tensors(width=48)))
    del files["hub.json"]
    files["adapter_config.json"] = unnamed()["adapter_config.json"]
    refused = owner.push("acme/wide", files)
    assert refused.status == 422 and refused["proposals"] == []
    assert "It fits" not in str(refused.json)


def test_what_is_private_is_proposed_to_those_who_may_know_of_it(base, owner, stranger) -> None:
    from registry.services import namespaces

    namespaces.create(name="charlies", owner=stranger.user)
    headers = copy.deepcopy(tiny())
    given = {
        **{key: headers[key] for key in ("config", "tokenizer_digest")},
        "name": "acme/secret", "source": "org/a", "revision": "c" * 40, "private": True,
        "tensors": [leaf[:3] for leaf in headers["leaves"]],
        "files": [{"path": "model.safetensors", "size": 7, "sha256": "0" * 64}],
    }  # fmt: skip
    assert owner.post("base-models/located", given).status == 201
    assert proposals(owner, unnamed()) == ["tiny-bert", "acme/secret"]
    assert proposals(stranger, unnamed(), "charlies/unnamed") == ["tiny-bert"]


@pytest.fixture
def at_home(live_server, owner, tmp_path, monkeypatch) -> None:
    """The owner's command line, with nothing of this machine's user."""
    for name in ("HOME", "HUB_CACHE", "HUB_CONFIG"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("HUB_ENDPOINT", live_server.url)
    monkeypatch.setenv("HUB_TOKEN", owner.token)


@pytest.mark.django_db(transaction=True)
def test_a_dry_run_ends_as_the_push_where_the_files_name_a_base_model(base, at_home, tmp_path, capsys) -> None:
    from hub import cli

    def written(name: str) -> dict[str, bytes]:
        return {
            "hub.json": json.dumps({"base": name}).encode(),
            "README.md": f"---\nbase_model: {name}\n---\n".encode(),
            "adapter_config.json": unnamed(name)["adapter_config.json"],
        }

    for place, code in (("hub.json", 4), ("README.md", 7), ("adapter_config.json", 7)):
        for name, ends in (("org/unknown", code), ("tiny-bert", 0)):
            folder = tmp_path / f"{place}-{ends}"
            folder.mkdir()
            for path, data in (unnamed() | {place: written(name)[place]}).items():
                (folder / path).write_bytes(data)
            assert cli.main(["push", str(folder), "acme/named", "--dry-run"]) == ends, (place, name)
            told = capsys.readouterr().err
            assert ("base model 'org/unknown'" in told and "hub base add" in told) == bool(ends)
            assert cli.main(["push", str(folder), "acme/named"]) == ends, (place, name)
            capsys.readouterr()


@pytest.mark.django_db(transaction=True)
def test_the_command_line_says_what_it_fits_and_how_to_say_so(at_home, several, tmp_path, capsys) -> None:
    from hub import cli

    folder = tmp_path / "out"
    folder.mkdir()
    for path, data in unnamed("/home/me/model").items():
        (folder / path).write_bytes(data)
    told = f"it fits {', '.join(BEST_FIRST)}: hub push {folder} acme/unnamed --base tiny-bert"
    assert cli.main(["push", str(folder), "acme/unnamed", "--dry-run"]) == 0
    assert told in capsys.readouterr().err
    assert cli.main(["push", str(folder), "acme/unnamed"]) == 7
    err = capsys.readouterr().err
    assert told in err and f"It fits {', '.join(BEST_FIRST)}: push with --base tiny-bert." in err
    assert cli.main(["push", str(folder), "acme/unnamed", "--base", "tiny-bert"]) == 0
    assert "it fits" not in capsys.readouterr().err
