"""Does it fit? Asked of folders, names and versions, and answered before any weight travels."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from hub import base_folder, cli, config, errors
from hub.client import Client
from hub.spec import compatibility
from hub.spec.base_model import BaseModel
from tests.client import specimens
from tests.client.simulator import Simulator
from tests.client.test_bases import tensors_of
from tests.client.test_pull import base_of

TABLE = "embeddings.word_embeddings.weight"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.main(list(words))
    told = capsys.readouterr()
    return code, told.out, told.err


def know(sim: Simulator, folder: Path = specimens.BASE, name: str = "tiny-bert", *, casts: bool = False) -> BaseModel:
    """Have the hub know a base model, leaves and all."""
    base = base_folder.read(folder, casts=casts)
    sim.bases[base.fingerprint] = {**base.to_json(), "name": name, "state": "observed", "aliases": [], "locations": []}
    return base


def locate(sim: Simulator, name: str = "org/big") -> None:
    """Have the hub know the tiny base model by its headers only, under a name of its own."""
    base = base_folder.read(specimens.BASE, casts=False)
    tensors = [[leaf.name, leaf.dtype, list(leaf.shape)] for leaf in base.leaves]
    told = {"tensors": tensors, "config": base.config, "tokenizer_digest": base.tokenizer_digest}
    sim.bases[name] = {
        **told,
        "fingerprint": None,
        "name": name,
        "state": "located",
        "aliases": [name],
        "locations": [],
    }


def changed(folder: Path, *names: str) -> Path:
    """A copy of the tiny base model with one other bit in each of these tensors."""
    shutil.copytree(specimens.BASE, folder)
    tensors = tensors_of(folder / "model.safetensors")
    for name in names:
        shape, data = tensors[name]
        tensors[name] = shape, bytes([data[0] ^ 1]) + data[1:]
    (folder / "model.safetensors").write_bytes(specimens.safetensors(tensors))
    return folder


def weight_bytes(sim: Simulator, files: dict[str, bytes]) -> int:
    """How many bytes of weights went out, whatever address they went by."""
    data = files["adapter_model.safetensors"]
    header = 8 + int.from_bytes(data[:8], "little")
    spans = [e.headers.get("range", "bytes=0-") for e in sim.seen if e.path.endswith("adapter_model.safetensors")]
    found = [span.removeprefix("bytes=").split("-") for span in spans]
    return sum(max(0, int(end or len(data) - 1) + 1 - max(int(start), header)) for start, end in found)


# -- pull ---------------------------------------------------------------------------------------------------------------


def test_one_changed_tensor_of_the_base_is_named_before_any_byte_of_weights(
    sim: Simulator, anybody: Client, tmp_path: Path
) -> None:
    know(sim)
    sim.publish("library/a", specimens.lora(), base=base_of())
    with pytest.raises(errors.IncompatibleBaseModel) as told:
        anybody.pull("a", base=changed(tmp_path / "other", TABLE))
    total = len(compatibility._backbone(base_folder.read(specimens.BASE)))
    assert f"{TABLE} differs (1 of {total} tensors)" in str(told.value)
    assert told.value.exit_code == 5
    assert weight_bytes(sim, specimens.lora()) == 0
    assert not (anybody.cache.root / "snapshots").exists()
    assert anybody.pull("a", base=tmp_path / "other", allow_shape_only=True).version == "1"
    assert weight_bytes(sim, specimens.lora()) > 0  # the counter counts


def test_of_many_changed_tensors_three_are_named(sim: Simulator, anybody: Client, tmp_path: Path) -> None:
    know(sim)
    sim.publish("library/a", specimens.lora(), base=base_of())
    names = [name for name in tensors_of(specimens.BASE / "model.safetensors") if "encoder.layer.1" in name][:5]
    with pytest.raises(errors.IncompatibleBaseModel, match=r"and 2 more differ \(5 of"):
        anybody.pull("a", base=changed(tmp_path / "other", *names))


def test_a_base_that_the_hub_knows_by_name_is_compared_by_its_table(
    sim: Simulator, anybody: Client, tmp_path: Path
) -> None:
    know(sim)
    know(sim, changed(tmp_path / "other", TABLE), "other-bert")
    said = {"level": "shape_only", "reasons": [compatibility.REASONS["shape_only"]]}
    sim.publish("library/a", specimens.lora(), base=base_of(), compatibility=said)
    with pytest.raises(errors.IncompatibleBaseModel, match=f"{TABLE} differs"):
        anybody.pull("a", base="other-bert")


def test_the_same_base_that_it_only_was_published_for_is_no_clash(
    sim: Simulator, anybody: Client, caplog: pytest.LogCaptureFixture
) -> None:
    know(sim)
    sim.publish("library/a", specimens.lora(), base=base_of(), status="hosted")
    assert anybody.pull("a", base=specimens.BASE).version == "1"
    assert "has not passed on it" in caplog.text


def test_without_a_base_of_its_own_nothing_proves_a_clash(
    sim: Simulator, anybody: Client, caplog: pytest.LogCaptureFixture
) -> None:
    sim.publish("library/a", specimens.lora(), status="hosted")
    assert anybody.pull("a", base=specimens.BASE).version == "1"
    assert "only shapes were compared" in caplog.text


def test_of_a_base_that_nobody_has_hashed_nothing_proves_that_it_is_another(
    sim: Simulator, anybody: Client, caplog: pytest.LogCaptureFixture
) -> None:
    know(sim)
    locate(sim)
    said = {"level": "shape_only", "reasons": [compatibility.REASONS["shape_only"]]}
    sim.publish("library/a", specimens.lora(), base=base_of(), compatibility=said)
    assert anybody.pull("a", base="org/big").version == "1"
    assert "is not known" in caplog.text
    assert "other weights" not in caplog.text


def test_another_pooler_is_no_other_base(sim: Simulator, anybody: Client, tmp_path: Path) -> None:
    know(sim)
    sim.publish("library/a", specimens.lora(), base=base_of())
    assert anybody.pull("a", base=changed(tmp_path / "other", "pooler.dense.weight")).version == "1"


@pytest.mark.parametrize(("names", "said"), [
    (["a"], "a differs (1 of 9 tensors)"),
    (["a", "b"], "a, b differ (2 of 9 tensors)"),
    (["a", "b", "c", "d"], "a, b, c and 1 more differ (4 of 9 tensors)"),
])  # fmt: skip
def test_what_differs_is_said_in_words(names: list[str], said: str) -> None:
    assert compatibility.differences(names, 9) == said


def test_a_plan_says_how_they_go_together(sim: Simulator, anybody: Client, tmp_path: Path) -> None:
    know(sim)
    sim.publish("library/a", specimens.lora(), base=base_of())
    assert anybody.plan("a", base=specimens.BASE)["compatibility"]["level"] == "validated"
    other = anybody.plan("a", base=changed(tmp_path / "other", TABLE), allow_shape_only=True)["compatibility"]
    assert (other["level"], other["clash"]) == ("shape_only", True)
    assert anybody.plan("a")["compatibility"] is None


def test_what_is_pinned_and_here_waits_for_no_hub(
    sim: Simulator, anybody: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    known = base_folder.read(specimens.BASE, casts=False)
    version = sim.publish("library/a", specimens.lora(), base=base_of())
    digest = f"a@sha256:{version.manifest.digest}"
    anybody.pull(digest)
    monkeypatch.setattr("hub.transfer.retry.Retry.wait", lambda *_: pytest.fail("waited for a hub that is not needed"))
    monkeypatch.setattr("hub.transfer.wire.Wire.address", lambda self, path: f"http://127.0.0.1:9/{path}")
    with Client(sim.url) as gone:
        assert gone.pull(digest, base=specimens.BASE).version == "1"
        other = changed(anybody.cache.root / "other", TABLE)
        assert gone.pull(digest, base=other).version == "1"
        assert "is not known" in caplog.text, "only names and roots are at hand: they prove nothing"
        config.remember_base(gone.settings, known.fingerprint, specimens.BASE, "tiny-bert")
        with pytest.raises(errors.IncompatibleBaseModel, match=f"{TABLE} differs"):
            gone.pull(digest, base=other)


# -- search -------------------------------------------------------------------------------------------------------------


def test_a_folder_finds_what_fits_with_the_level_of_each(
    sim: Simulator, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    know(sim)
    sim.publish("library/a", specimens.lora(), base=base_of())
    sim.publish("library/wide", specimens.lora(hidden=48))
    code, out, _ = run(capsys, "search", "--base", str(specimens.BASE))
    head, *rows = out.splitlines()
    assert code == 0 and "LEVEL" in head
    assert [row.split()[0] for row in rows] == ["a"] and "validated" in rows[0]
    assert sim.count("POST .*/compat/check") == 0

    other = changed(tmp_path / "other", TABLE)  # the hub has never seen this one
    found = json.loads(run(capsys, "search", "--base", str(other), "--json")[1])["results"]
    assert [(row["ref"], row["compatibility"]["level"]) for row in found] == [("library/a", "shape_only")]
    assert sim.count("POST .*/compat/check") == 1
    assert json.loads(run(capsys, "search", "nothing", "--base", str(other), "--json")[1]) == {"results": []}


def test_every_word_of_a_search_reaches_the_hub_whatever_the_base(
    sim: Simulator, anybody: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(sim)
    seen: list[dict[str, Any]] = []
    compared = Simulator._compared

    def listen(self: Simulator, base: BaseModel, asked: dict[str, Any]) -> list[dict[str, Any]]:
        seen.append(asked)
        return compared(self, base, asked)

    monkeypatch.setattr(Simulator, "_compared", listen)
    words = {"task": "text-classification", "benchmark": "glue/sst2", "method": "lora", "sort": "gain"}
    anybody.search("tone", base="tiny-bert", **words)  # type: ignore[arg-type]
    anybody.search("tone", base=changed(tmp_path / "other", TABLE), **words)  # type: ignore[arg-type]
    assert len(seen) == 2
    assert all({"q": "tone", **words}.items() <= asked.items() for asked in seen)


def test_a_base_that_nobody_knows_is_not_found_with_what_was_meant(
    sim: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    know(sim)
    code, _, err = run(capsys, "search", "--base", "tiny-brt")
    assert code == 4 and "did you mean tiny-bert" in err


# -- check --------------------------------------------------------------------------------------------------------------


def test_a_version_is_checked_without_its_weights(sim: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    know(sim)
    sim.publish("library/a", specimens.lora(), base=base_of())
    code, out, _ = run(capsys, "check", "a", "--base", str(specimens.BASE))
    assert code == 0
    assert f"on {specimens.BASE}: validated" in out
    code, out, _ = run(capsys, "check", "a", "--json")
    told = json.loads(out)
    assert (told["ok"], [(fit["name"], fit["level"]) for fit in told["fits"]]) == (True, [("tiny-bert", "validated")])
    assert f"{sim.url}/a/library/a/v/1/report" in run(capsys, "check", "a")[1]
    assert weight_bytes(sim, specimens.lora()) == 0
    assert sim.count("GET .*/adapter_model.safetensors") > 0


def test_a_base_that_nobody_has_hashed_is_checked_by_its_shapes(
    sim: Simulator, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    locate(sim)
    said = {"level": "shape_only", "reasons": [compatibility.REASONS["shape_only"]]}
    sim.publish("library/a", specimens.lora(), base=base_of(), compatibility=said)
    folder = specimens.write(tmp_path / "mine", specimens.lora())
    for target in ("a", str(folder)):
        code, out, err = run(capsys, "check", target, "--base", "org/big")
        assert (code, "on org/big: shape_only" in out) == (0, True), err
    wide = specimens.write(tmp_path / "wide", specimens.lora(hidden=48))
    assert run(capsys, "check", str(wide), "--base", "org/big")[0] == 5
    assert sim.count("POST .*/compat/check") == 0, "hashes that mean nothing are sent to nobody"


def test_a_clash_ends_with_five_and_names_tensor_and_both_shapes(
    sim: Simulator, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sim.publish("library/wide", specimens.lora(hidden=48))
    folder = specimens.write(tmp_path / "wide", specimens.lora(hidden=48))
    for target in ("wide", str(folder)):
        code, _, err = run(capsys, "check", target, "--base", str(specimens.BASE))
        assert code == 5
        assert "query" in err and "[2, 48]" in err and "32" in err
        assert "and 5 more" in err, err
        told = json.loads(run(capsys, "check", target, "--base", str(specimens.BASE), "--json")[1])
        assert len(told["problems"]) == 9


def test_other_weights_are_named_by_check_and_are_no_failure(
    sim: Simulator, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    know(sim)
    sim.publish("library/a", specimens.lora(), base=base_of())
    code, out, _ = run(capsys, "check", "a", "--base", str(changed(tmp_path / "other", TABLE)))
    assert code == 0
    assert "other: shape_only" in out and f"{TABLE} differs" in out


def test_a_folder_alone_is_told_which_bases_of_this_machine_it_fits(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = specimens.write(tmp_path / "mine", specimens.lora())
    assert "no base model of this machine is known" in run(capsys, "check", str(folder))[1]
    monkeypatch.setenv("HUB_BASES", str(specimens.BASE))
    told = json.loads(run(capsys, "check", str(folder), "--json")[1])
    assert [(fit["name"], fit["level"]) for fit in told["fits"]] == [("tiny-bert", "shape_only")]
    wide = specimens.write(tmp_path / "wide", specimens.lora(hidden=48))
    assert json.loads(run(capsys, "check", str(wide), "--json")[1])["fits"] == []
    assert "fits none of this machine's base models (1)" in run(capsys, "check", str(wide))[1]


def test_a_folder_whose_bytes_are_published_has_the_level_of_what_is(
    sim: Simulator, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    know(sim)
    sim.publish("library/a", specimens.lora(readme="As it was pushed.\n"), base=base_of())
    mine = specimens.write(tmp_path / "mine", specimens.lora(readme="Another README is the same adapter.\n"))
    code, out, _ = run(capsys, "check", str(mine), "--base", str(specimens.BASE))
    assert code == 0
    assert "validated" in out and f"{sim.url}/a/library/a/v/1/report" in out
    other = specimens.write(tmp_path / "other", specimens.lora(seed=1))
    told = json.loads(run(capsys, "check", str(other), "--base", str(specimens.BASE), "--json")[1])
    assert told["compatibility"]["level"] == "shape_only"


@pytest.mark.parametrize("offline", [True, False])
def test_a_folder_is_checked_without_a_hub_at_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    monkeypatch.setenv("HUB_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HUB_OFFLINE", "1" if offline else "")
    monkeypatch.setattr("hub.transfer.retry.Retry.wait", lambda *_: pytest.fail("waited for a hub that is not needed"))
    mine = specimens.write(tmp_path / "mine", specimens.lora())
    code, out, _ = run(capsys, "check", str(mine), "--base", str(specimens.BASE))
    assert code == 0 and "shape_only" in out


# -- doctor and find-hash -----------------------------------------------------------------------------------------------


def test_the_doctor_reads_a_version_of_the_hub_by_its_header(
    sim: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    sim.publish("library/a", specimens.lora())
    code, out, _ = run(capsys, "doctor", "a", "--base", str(specimens.BASE))
    row = next(line for line in out.splitlines() if line.startswith("a:1"))
    assert code == 0 and "lora" in row and "tiny-bert" in row
    sim.seen.clear()
    files = specimens.lora(hidden=4096)
    sim.publish("library/large", files)
    assert run(capsys, "doctor", "large")[0] == 0
    # of the weights only the beginnings are read that would be zero if they had never been trained
    assert 0 < weight_bytes(sim, files) <= 5 * 4096 < len(files["adapter_model.safetensors"]) / 10
    assert run(capsys, "doctor", "nowhere")[0] == 4
    assert run(capsys, "doctor", "./nowhere")[0] == 2


def test_a_file_is_found_by_its_bytes_and_by_its_tensors(
    sim: Simulator, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    files = specimens.lora()
    version = sim.publish("library/a", files)
    sha256 = next(file.sha256 for file in version.manifest.files if file.path == "adapter_model.safetensors")
    for digest in (sha256, f"sha256:{sha256}", sha256.upper()):
        code, out, _ = run(capsys, "find-hash", digest)
        assert code == 0 and out.splitlines()[1].split() == [
            "a",
            "1",
            "published",
            "the",
            "file",
            "adapter_model.safetensors",
        ]

    other = tmp_path / "other.safetensors"
    tensors = {}
    (tmp_path / "own.safetensors").write_bytes(files["adapter_model.safetensors"])
    tensors = tensors_of(tmp_path / "own.safetensors")
    other.write_bytes(specimens.safetensors(dict(reversed(tensors.items())), note="saved again"))
    told = json.loads(run(capsys, "find-hash", str(other), "--json")[1])
    assert [(row["adapter"], row["kind"]) for row in told["results"]] == [("library/a", "tensors")]
    assert set(told["digests"]) == {"file", "tensors"}

    data = bytearray(other.read_bytes())
    data[-1] ^= 1
    other.write_bytes(data)
    assert run(capsys, "find-hash", str(other))[0] == 4
    assert run(capsys, "find-hash", "0" * 64)[0] == 4
    assert run(capsys, "find-hash", "no-such-file")[0] == 2
    assert run(capsys, "find-hash", str(tmp_path))[0] == 2
