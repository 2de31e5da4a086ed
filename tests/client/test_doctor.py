"""`hub doctor`: what adapters are and what is wrong with them, without a server and without torch."""

import http.server
import json
import math
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hub import cli, diagnosis
from tests.specimens.spec import builders as make

ROOT = Path(__file__).parents[2]


def write(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def base(tmp_path):
    """A base model on disk: names and shapes as in the builders, all values made up."""
    folder = write(tmp_path / "bases" / "tiny-bert", {
        "config.json": json.dumps(make.CONFIG).encode(), "model.safetensors": make.safetensors(make.base_shapes()),
    })  # fmt: skip
    return folder


def doctor(capsys, *words):
    code = cli.main(["--json", "doctor", *map(str, words)])
    out, err = capsys.readouterr()
    return code, {Path(one["place"]).name: one for one in json.loads(out).get("adapters", [])}, err


def remarks(finding, kind):
    return [remark["text"] for remark in finding["remarks"] if remark["kind"] == kind]


def test_an_adapter_is_told_with_method_rank_and_the_bases_that_fit(tmp_path, base, capsys):
    write(tmp_path / "a", make.lora())
    code, found, _ = doctor(capsys, tmp_path / "a", "--base", base)
    one = found["a"]
    assert code == 0
    assert (one["method"], one["variant"], one["rank"], one["parameters"]) == ("lora", "lora", 2, 128)
    assert [fit["name"] for fit in one["fits"]] == ["tiny-bert"]
    assert one["ok"]


def test_every_folder_below_a_folder_is_found(tmp_path, capsys):
    for name in ("a", "b/c", "b/d/e"):
        write(tmp_path / "all" / name, make.lora())
    code, found, err = doctor(capsys, tmp_path / "all")
    assert sorted(found) == ["a", "c", "e"]
    assert "3 adapters" in err


def test_a_file_of_kohya_is_found_without_a_configuration(tmp_path, base, capsys):
    key = "lora_unet_down_blocks_0_proj_in"
    files = {
        "style.safetensors": make.safetensors(
            {f"{key}.lora_down.weight": (4, 8), f"{key}.lora_up.weight": (8, 4), f"{key}.alpha": ()}
        )
    }
    write(tmp_path / "all" / "style", files)
    _, found, _ = doctor(capsys, tmp_path / "all", tmp_path / "bases")
    assert (found["style"]["library"], found["style"]["rank"]) == ("kohya", 4)
    assert set(found) == {"style"}  # a base model is no adapter


def test_a_folder_without_adapters_is_not_found(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert doctor(capsys, tmp_path / "empty")[0] == 4


def test_an_adapter_for_another_base_is_told_with_both_shapes(tmp_path, base, capsys):
    write(tmp_path / "wide", make.lora(shapes=make.lora_shapes(hidden=12)))
    _, found, _ = doctor(capsys, tmp_path / "wide", "--base", base)
    (told,) = remarks(found["wide"], "problem")
    assert "does not fit tiny-bert, which it names" in told
    assert "[2, 12]" in told
    assert found["wide"]["fits"] == []


def test_without_a_base_name_the_fitting_ones_are_proposed(tmp_path, base, capsys):
    write(tmp_path / "nameless", make.lora({"base_model_name_or_path": None}))
    _, found, _ = doctor(capsys, tmp_path / "nameless", "--base", base)
    assert any("it fits tiny-bert" in text for text in remarks(found["nameless"], "warning"))


def test_an_adapter_that_was_never_trained_is_a_problem(tmp_path, capsys):
    files = make.lora()
    data = files["adapter_model.safetensors"]
    length = 8 + int.from_bytes(data[:8], "little")
    write(tmp_path / "empty", files | {"adapter_model.safetensors": data[:length] + bytes(len(data) - length)})
    _, found, _ = doctor(capsys, tmp_path / "empty")
    assert any("changes nothing" in text for text in remarks(found["empty"], "problem"))
    write(tmp_path / "trained", files)
    assert not remarks(doctor(capsys, tmp_path / "trained")[1]["trained"], "problem")


def test_two_copies_are_told_and_two_different_ones_are_not(tmp_path, capsys):
    write(tmp_path / "all" / "a", make.lora())
    write(tmp_path / "all" / "b", make.lora({"lora_alpha": 8}))
    other = bytearray(make.lora()["adapter_model.safetensors"])
    other[-1] ^= 1
    write(tmp_path / "all" / "c", make.lora() | {"adapter_model.safetensors": bytes(other)})
    _, found, _ = doctor(capsys, tmp_path / "all")
    assert any("has the same weights as" in text for text in remarks(found["b"], "warning"))
    assert not any("same weights" in text for name in ("a", "c") for text in remarks(found[name], "warning"))


def test_a_lost_label_map_a_quantised_base_and_a_hostile_key_are_told(tmp_path, capsys):
    write(tmp_path / "labels", make.lora())
    write(tmp_path / "quantised", make.lora({"base_model_name_or_path": "unsloth/tinyllama-bnb-4bit"}))
    write(tmp_path / "hostile", make.lora({"megatron_core": "evilplug"}))
    _, found, _ = doctor(capsys, tmp_path)
    assert any("no file says what they are called" in text for text in remarks(found["labels"], "warning"))
    assert any("quantised" in text for text in remarks(found["quantised"], "warning"))
    assert any("evilplug" in text for text in remarks(found["hostile"], "problem"))


WORDS = f"{make.PREFIX}bert.embeddings.word_embeddings.weight"
OWN = make.content("embeddings.word_embeddings.weight", 11 * 8, "F32")
ROW = 8 * 4
WHOLE = sum(math.prod(shape) for shape in make.base_shapes().values())


def with_a_table(table, *, rows=11, key=WORDS, saved=True):
    """A LoRA that brings a table of tokens with these bytes, saved as a whole module or by PEFT's save_embedding_layers."""
    names = ["classifier", "word_embeddings"] if saved else ["classifier"]
    config, adapted = {"modules_to_save": names}, {}
    if not saved:  # PEFT writes that copy beside a table that is adapted, and only there
        beside = key.removesuffix("base_layer.weight")
        config["target_modules"] = ["query", "value", "word_embeddings"]
        adapted = {f"{beside}lora_embedding_A": (make.RANK, rows), f"{beside}lora_embedding_B": (8, make.RANK)}
    files = make.lora(config, adapted | {key: (rows, 8)})
    made = make.content(key, rows * 8, "F32")
    assert made in files["adapter_model.safetensors"]
    return files | {"adapter_model.safetensors": files["adapter_model.safetensors"].replace(made, table)}


@pytest.mark.parametrize("hashed", [False, True], ids=["nobody hashed the base", "the base is hashed"])
@pytest.mark.parametrize(
    ("table", "rows", "same"),
    [
        (OWN, 11, 11),
        (bytes(ROW) + OWN[ROW:], 11, 10),
        (OWN[:-ROW] + bytes(ROW), 11, 10),
        (OWN + b"\1" * 2 * ROW, 13, 11),
        (OWN[: 5 * ROW], 5, 5),
        (bytes(11 * ROW), 11, 0),
    ],
    ids=[
        "all",
        "the first row was trained",
        "the last row was trained",
        "rows were added",
        "rows were cut off",
        "none",
    ],
)
def test_rows_that_are_copies_of_the_base_are_counted(table, rows, same, hashed, tmp_path, base, capsys):
    write(tmp_path / "large", with_a_table(table, rows=rows))
    if hashed:
        assert cli.main(["base", "add", str(base), "--name", "tiny-bert"]) == 0
        capsys.readouterr()
    _, found, _ = doctor(capsys, tmp_path / "large", "--base", str(base))
    told = [text for text in remarks(found["large"], "warning") if "unchanged copies" in text]
    assert found["large"]["sizes"]["unchanged"] == {"bytes": same * ROW}
    assert bool(told) == bool(same)
    if told:
        assert f"{same * ROW} bytes of {rows * ROW} bytes" in told[0] and "embeddings" in told[0]
        assert "modules_to_save" in told[0]
    assert any("whole modules" in text for text in remarks(found["large"], "warning"))


def test_a_copy_that_peft_wrote_by_itself_says_how_to_save_without_it(tmp_path, base, capsys):
    key = f"{make.PREFIX}bert.embeddings.word_embeddings.base_layer.weight"
    write(tmp_path / "large", with_a_table(OWN, key=key, saved=False))
    _, found, _ = doctor(capsys, tmp_path / "large", "--base", str(base))
    (told,) = (text for text in remarks(found["large"], "warning") if "unchanged copies" in text)
    assert told.endswith(
        "are unchanged copies of the base's embeddings; saving without them: save_embedding_layers=False"
    )
    assert found["large"]["sizes"]["copied"] == {"parameters": 88, "bytes": 11 * ROW, "percent": round(8800 / WHOLE, 4)}


@pytest.mark.parametrize(("rows", "same"), [([2, 0, 7], 2), ([2, 1, 7], 1)], ids=str)
def test_rows_of_single_tokens_are_compared_with_those_they_stand_for(rows, same, tmp_path, base, capsys):
    key = f"{make.PREFIX}bert.embeddings.word_embeddings.token_adapter.trainable_tokens_delta"
    table = OWN[2 * ROW : 3 * ROW] + OWN[:ROW] + bytes(ROW)
    files = make.lora({"trainable_token_indices": {"word_embeddings": rows}}, {key: (3, 8)})
    weights = files["adapter_model.safetensors"].replace(make.content(key, 24, "F32"), table)
    write(tmp_path / "tokens", files | {"adapter_model.safetensors": weights})
    _, found, _ = doctor(capsys, tmp_path / "tokens", "--base", str(base))
    assert found["tokens"]["sizes"]["unchanged"] == {"bytes": same * ROW}
    told = [text for text in remarks(found["tokens"], "warning") if "unchanged copies" in text]
    assert bool(told) == bool(same)
    assert all("name only tokens that are trained" in text for text in told)


def test_adapter_and_head_are_counted_apart_in_number_bytes_and_percent(tmp_path, base, capsys):
    write(tmp_path / "one", make.lora())
    _, found, _ = doctor(capsys, tmp_path / "one", "--base", str(base))
    sizes = found["one"]["sizes"]
    assert sizes["adapter"] == {"parameters": 128, "bytes": 512, "percent": round(12800 / WHOLE, 4)}
    assert sizes["head"] == {"parameters": 18, "bytes": 72, "percent": round(1800 / WHOLE, 4)}
    assert sizes["saved"]["bytes"] == sizes["copied"]["bytes"] == sizes["unchanged"]["bytes"] == 0


@pytest.mark.parametrize(("rows", "said"), [(13, True), (11, False)])
def test_tokens_that_an_adapter_adds_are_told(rows, said, tmp_path, base, capsys):
    words = f"{make.PREFIX}bert.embeddings.word_embeddings.weight"
    write(tmp_path / "grown", make.lora({"modules_to_save": ["classifier", "word_embeddings"]}, {words: (rows, 8)}))
    _, found, _ = doctor(capsys, tmp_path / "grown", "--base", base)
    assert any("adds 2 tokens to the 11 of tiny-bert" in text for text in remarks(found["grown"], "warning")) is said


def test_what_engines_need_is_told(tmp_path, capsys):
    write(tmp_path / "plain", make.lora())
    write(tmp_path / "high", make.lora({"r": 24}, make.lora_shapes(rank=24)))
    write(tmp_path / "bottleneck", make.bottleneck())
    _, found, _ = doctor(capsys, tmp_path)
    assert found["plain"]["serving"]["vllm"] == ""
    assert found["high"]["serving"]["vllm"] == "needs --max-lora-rank 32"
    assert "cannot serve houlsby" in found["bottleneck"]["serving"]["vllm"]


def test_the_table_is_for_people(tmp_path, capsys):
    write(tmp_path / "all" / "first", make.lora())
    write(tmp_path / "all" / "second", make.bottleneck())
    assert cli.main(["doctor", str(tmp_path / "all")]) == 0
    out, _ = capsys.readouterr()
    assert f"in {tmp_path / 'all'}/" in out
    assert "first" in out and "houlsby" in out and "VERDICT" in out


@pytest.mark.parametrize("rows", [[2, 0, 99], [2, 0]], ids=str)
def test_rows_of_tokens_that_the_base_does_not_have_or_that_are_missing_are_a_fault(rows, tmp_path, base, capsys):
    key = f"{make.PREFIX}bert.embeddings.word_embeddings.token_adapter.trainable_tokens_delta"
    write(tmp_path / "tokens", make.lora({"trainable_token_indices": {"word_embeddings": rows}}, {key: (3, 8)}))
    _, found, _ = doctor(capsys, tmp_path / "tokens", "--base", str(base))
    assert found["tokens"]["sizes"]["unchanged"] is None, "nothing is compared row by row"
    assert remarks(found["tokens"], "problem")


def test_what_no_hub_runs_yet_is_told_of_an_adapter_without_other_remarks(tmp_path, capsys):
    write(tmp_path / "two-texts", make.lora({"task_type": "SEQ_2_SEQ_LM"}))
    assert cli.main(["doctor", str(tmp_path / "two-texts")]) == 0
    assert "not judged yet: adapter_config.json: task_type" in capsys.readouterr().out


@pytest.mark.parametrize(("task_type", "verdict"), [("CAUSAL_LM", "look"), ("SEQ_CLS", "fine")])
def test_what_a_push_would_refuse_is_not_fine(task_type, verdict, tmp_path, base, capsys):
    write(tmp_path / "a", make.lora({"task_type": task_type}, **{"hub.json": b'{"labels": ["no", "yes"]}'}))
    assert cli.main(["doctor", str(tmp_path / "a"), "--base", str(base)]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "tiny-bert" in line and " lora " in line]
    assert row.split()[-1] == verdict, row


def test_without_a_base_model_nothing_is_fine(tmp_path, base, capsys):
    named = {"hub.json": b'{"labels": ["no", "yes"]}'}
    write(tmp_path / "all" / "good", make.lora(**named))
    write(tmp_path / "all" / "wide", make.lora(shapes=make.lora_shapes(hidden=12), **named))
    for words, verdicts in (([], ("cannot tell", "cannot tell")), (["--base", base], ("fine", "problems"))):
        _, found, _ = doctor(capsys, tmp_path / "all", *words)
        assert (found["good"]["verdict"], found["wide"]["verdict"]) == verdicts
    _, found, _ = doctor(capsys, tmp_path / "all" / "wide")
    (told,) = remarks(found["wide"], "note")
    first = "encoder.layer.0.attention.self.query of output width 12, input width 12"
    assert told == f"held against no base model: it fits one with {first}, and 4 more modules as its tensors need"


def test_what_runs_on_no_base_model_that_it_fits_is_not_fine(tmp_path, base, capsys):
    shapes = dict.fromkeys(make.lora_shapes(), make.REMOVE) | make.lora_shapes(prefix="")
    write(tmp_path / "a", make.lora(shapes=shapes, **{"hub.json": b'{"labels": ["no", "yes"]}'}))
    config = json.dumps(make.CONFIG | {"model_type": "nobody-runs-it"}).encode()
    other = write(tmp_path / "bases" / "other", {
        "config.json": config, "model.safetensors": (base / "model.safetensors").read_bytes(),
    })  # fmt: skip
    _, found, _ = doctor(capsys, tmp_path / "a", "--base", other)
    assert [fit["name"] for fit in found["a"]["fits"]] == ["other"]
    assert found["a"]["verdict"] == "look" and "nobody-runs-it" in found["a"]["unrun"][0]
    assert any("tiny-bert, which it names, is none of" in text for text in remarks(found["a"], "note"))
    _, found, _ = doctor(capsys, tmp_path / "a", "--base", tmp_path / "bases")
    assert (found["a"]["verdict"], found["a"]["unrun"]) == ("fine", [])


def test_what_many_adapters_share_is_told_once(tmp_path, capsys):
    for number in range(5):
        write(tmp_path / "all" / f"a{number}", {"adapter_config.json": make.lora()["adapter_config.json"]})
    assert cli.main(["doctor", str(tmp_path / "all")]) == 0
    out, _ = capsys.readouterr()
    assert out.count("has no weights") == 1
    assert "all 5 adapters" in out


def test_a_configuration_without_weights_still_says_its_method_and_rank(tmp_path, capsys):
    write(tmp_path / "bare", {"adapter_config.json": make.lora()["adapter_config.json"]})
    _, found, _ = doctor(capsys, tmp_path / "bare")
    assert (found["bare"]["method"], found["bare"]["rank"]) == ("lora", 2)
    assert "parameters" not in found["bare"]


def test_a_named_base_that_is_none_is_a_wrong_call(tmp_path, base, capsys):
    write(tmp_path / "a", make.lora())
    write(tmp_path / "bare", {"config.json": (base / "config.json").read_bytes()})
    code, _, err = doctor(capsys, tmp_path / "a", "--base", tmp_path / "bare")
    assert code == 2
    assert "bare holds no base model" in err
    (base / "model.safetensors").write_bytes(b"broken")
    code, _, err = doctor(capsys, tmp_path / "a", "--base", base)
    assert code != 0
    assert "model.safetensors" in err


def test_links_are_not_followed(tmp_path, capsys):
    write(tmp_path / "outside", make.lora())
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "link").symlink_to(tmp_path / "outside")
    assert list(diagnosis.places(tmp_path / "all")) == []


def test_doctor_imports_neither_torch_nor_a_server():
    code = "import sys; from hub import cli; cli.main(['doctor', 'demo']); print({'torch','django','numpy','transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("set()")


class Repository(http.server.BaseHTTPRequestHandler):
    """A repository in Hugging Face's dialect: a listing with sizes, and files by ranges."""

    files: dict[str, bytes] = {}
    sent: list[tuple[str, int]] = []

    def do_GET(self):
        if self.path.startswith("/api/models/acme/a"):
            self._json({"sha": "f" * 40, "siblings": [{"rfilename": n, "size": len(d)} for n, d in self.files.items()]})
            return
        name = self.path.partition(f"/resolve/{'f' * 40}/")[2]
        if name not in self.files:
            self.send_error(404)
            return
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        body = self.files[name][int(first) : int(last) + 1]
        self.sent.append((name, len(body)))
        self.send_response(206)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _json(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


@pytest.fixture
def hf(monkeypatch):
    """Such a server, as HF_ENDPOINT."""
    Repository.sent = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Repository)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield Repository
    server.shutdown()


def test_a_repository_is_read_by_ranges(hf, capsys):
    big = make.lora({"r": 512}, make.lora_shapes(rank=512, hidden=512))
    hf.files = big
    code, found, _ = doctor(capsys, "hf://acme/a")
    assert code == 0
    assert found["a"]["rank"] == 512
    weights = sum(count for name, count in hf.sent if name == "adapter_model.safetensors")
    assert weights < len(big["adapter_model.safetensors"]) / 10


def test_a_repository_that_is_not_there_is_told(hf, capsys):
    assert doctor(capsys, "hf://acme/none")[0] == 4


def test_offline_nothing_is_fetched(hf, capsys, monkeypatch):
    monkeypatch.setenv("HUB_OFFLINE", "1")
    assert doctor(capsys, "hf://acme/a")[0] == 9
    assert hf.sent == []
