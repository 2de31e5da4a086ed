"""The command line: exit codes, JSON on stdout, prose on stderr."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from hub import base_folder, cli
from hub.commands import known
from hub.commands.context import report_lines
from tests.client import specimens
from tests.client.simulator import OWNER, STRANGER, Simulator, Version
from tests.client.test_pull import base_of, flip
from tests.client.test_push import BROKEN, FAILED, PASSED, judged, know_base

ROOT = Path(__file__).parents[2]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return specimens.write(tmp_path / "sentiment", specimens.lora())


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_TOKEN", OWNER)


def run(capsys: Capture, *words: str) -> tuple[int, str, str]:
    code = cli.main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_pull_prints_the_folder_alone(sim: Simulator, capsys: Capture) -> None:
    sim.publish("library/a", specimens.lora())
    code, out, err = run(capsys, "pull", "a")
    assert code == 0
    assert Path(out.strip()).joinpath("adapter_config.json").is_file()
    assert "library/a:1@sha256:" in err


def test_json_is_one_value_on_stdout(sim: Simulator, capsys: Capture) -> None:
    version = sim.publish("library/a", specimens.lora(), base=base_of())
    for words in (["--json", "pull", "a"], ["pull", "--json", "a"], ["pull", "a", "--json"]):
        _, out, _ = run(capsys, *words)
        assert json.loads(out)["digest"] == f"sha256:{version.manifest.digest}"


def test_the_flags_of_every_verb_stand_before_and_after_it(
    sim: Simulator, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HUB_ENDPOINT")
    monkeypatch.delenv("HUB_TOKEN")
    flags = ["--endpoint", sim.url, "--token", OWNER, "--quiet"]
    assert run(capsys, *flags, "whoami")[0] == 0
    assert run(capsys, "whoami", *flags)[0] == 0
    assert run(capsys, "base", "ls", *flags)[0] == 0
    assert run(capsys, "base", *flags, "ls")[0] == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["pull", "library/a"], 0),
        (["frobnicate"], 2),
        (["pull"], 2),
        (["pull", "a/b/c"], 2),
        (["pull", "a", "--locked"], 2),
        (["whoami", "--token", STRANGER], 3),
        (["push", "FOLDER", "owner/x", "--token", STRANGER], 3),
        (["pull", "nothing"], 4),
        (["pull", "a", "--base", "clashing"], 5),
        (["verify", "DAMAGED"], 6),
        (["push", "BAD", "owner/x"], 7),
        (["pull", "yanked"], 8),
        (["pull", "a", "--endpoint", "http://127.0.0.1:9"], 9),
        (["push", "FOLDER", "owner/x", "--wait", "--timeout", "0.1"], 10),
    ],
)
def test_every_exit_code(
    sim: Simulator, capsys: Capture, folder: Path, tmp_path: Path, words: list[str], code: int
) -> None:
    said = {"level": "incompatible", "reasons": ["query does not fit"]}
    sim.publish("library/a", specimens.lora(), compatibility=said)
    sim.publish("library/yanked", specimens.lora(seed=2), yanked="it was wrong")
    bad = specimens.write(tmp_path / "bad", {"model.pkl": b"\x80\x04"})
    places = {"FOLDER": str(folder), "BAD": str(bad), "DAMAGED": str(tmp_path / "damaged")}
    if "DAMAGED" in words:
        run(capsys, "pull", "a", "--to", places["DAMAGED"])
        flip(tmp_path / "damaged" / "README.md")
    found, _, err = run(capsys, *(places.get(word, word) for word in words))
    assert found == code, err
    assert code == 0 or "hub: " in err


def test_an_internal_fault_is_one_and_shows_no_token(
    sim: Simulator, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.client.Client.whoami", lambda self: _boom())
    code, out, err = run(capsys, "whoami", "--json")
    assert code == 1
    assert OWNER not in out + err
    assert json.loads(out)["exit_code"] == 1


def _boom() -> None:
    raise ValueError(f"with {OWNER} inside")


def test_an_error_is_json_too(sim: Simulator, capsys: Capture) -> None:
    code, out, err = run(capsys, "--json", "pull", "nothing")
    assert (code, json.loads(out)["exit_code"], json.loads(out)["error"]) == (4, 4, "NotFound")
    assert "nothing" in err
    code, out, _ = run(capsys, "--json", "psuh")
    assert (code, json.loads(out)["hint"]) == (2, "did you mean push?")


def test_a_wrong_word_is_answered_with_the_right_one(sim: Simulator, capsys: Capture) -> None:
    sim.publish("library/sentiment-bert", specimens.lora())
    assert "did you mean pull" in run(capsys, "plul")[2]
    assert "did you mean library/sentiment-bert?" in run(capsys, "info", "sentimnt-bert")[2]


def test_a_push_that_waits_ends_as_the_verdict_says(sim: Simulator, capsys: Capture, folder: Path) -> None:
    sim.verdict = judged(PASSED, "published")
    code, out, _ = run(capsys, "push", str(folder), "owner/good", "--wait")
    assert code == 0
    assert "published" in out
    assert out.splitlines()[-1] == f"report: {sim.url}/a/owner/good/v/1/report"
    sim.verdict = judged(FAILED, "rejected")
    code, out, err = run(capsys, "push", str(folder), "owner/bad", "--wait")
    assert (code, out) == (7, "")
    assert "FAILED" in err
    assert "B is zero" in err
    assert err.splitlines()[-1] == f"report: {sim.url}/a/owner/bad/v/1/report"
    sim.verdict = judged(BROKEN, "validating")
    code, out, err = run(capsys, "push", str(folder), "owner/broken", "--wait", "--json")
    assert code == 10
    told = json.loads(out)["report"]
    assert (told["verdict"], told["page_url"]) == ("error", "/a/owner/broken/v/1")
    assert err.splitlines()[-1] == f"report: {sim.url}/a/owner/broken/v/1/report"


def test_who_waits_is_told_what_for(sim: Simulator, capsys: Capture, folder: Path) -> None:
    waits = iter(
        [{"verdict": None, "stage": "queued", "queue": None, "summary": "no worker has this base model yet"}, PASSED]
    )

    def advance(version: Version) -> None:
        version.report = next(waits)
        version.status = "validating" if version.report["verdict"] is None else "published"

    sim.verdict = advance
    code, _, err = run(capsys, "push", str(folder), "owner/a", "--wait")
    assert code == 0 and "  no worker has this base model yet" in err.splitlines()


def test_less_is_no_gain_over_anything() -> None:
    gain = {"value": -140.8, "interval": [-143.1, -138.5], "over": "adapter_off", "called": "plain base model"}
    score = {"benchmark": "a/b", "metric": "perplexity", "value": 173.9, "gain": gain, "direction": "down"}
    told = report_lines({"components": [{"scores": [score]}]})
    assert "          gain -140.8000 [-143.1000, -138.5000] against the plain base model (less is better)" in told
    up = report_lines({"components": [{"scores": [score | {"direction": "up"}]}]})
    assert any(line.endswith("over the plain base model") for line in up)


def test_a_push_without_waiting_says_how_to_follow(sim: Simulator, capsys: Capture, folder: Path) -> None:
    code, out, err = run(capsys, "push", str(folder), "owner/a", "--version", "1.4.0", "--private", "-m", "text")
    assert (code, out) == (0, "owner/a:1.4.0  validating\n")
    assert "hub status owner/a:1.4.0 --follow" in err
    assert sim.versions[0].private


def test_a_dry_run_lists_what_would_go(sim: Simulator, capsys: Capture, folder: Path) -> None:
    know_base(sim)
    code, out, _ = run(capsys, "push", str(folder), "--base", "tiny-bert", "--labels", "no,yes", "--dry-run", "--json")
    told = json.loads(out)
    assert (code, told["ok"], told["hub.json"]["labels"]) == (0, True, ["no", "yes"])
    assert [check["name"] for check in told["checks"] if check["status"] == "failed"] == []
    (part,) = told["components"]
    assert part["sizes"]["adapter"]["parameters"] == part["parameters"]
    assert part["sizes"]["head"]["parameters"] == part["head_parameters"]
    assert part["sizes"]["adapter"]["bytes"] > 0
    assert sim.count("POST .*") == 0


def test_status_follows_to_the_verdict(sim: Simulator, capsys: Capture) -> None:
    sim.publish("owner/a", specimens.lora(), report=FAILED, status="rejected")
    assert run(capsys, "status", "owner/a")[0] == 0
    assert run(capsys, "status", "owner/a", "--follow")[0] == 7
    assert run(capsys, "report", "owner/a:1")[0] == 0


def test_what_it_answered_row_by_row_is_put_into_a_folder_and_verified(
    sim: Simulator, capsys: Capture, tmp_path: Path
) -> None:
    said, scored = b'{"answer":1,"row":0}\n', dict(PASSED)
    version = sim.publish("owner/a", {**specimens.lora(), "answers.json": said})
    file = {"path": "glue/sst2.abababab.jsonl", "sha256": hashlib.sha256(said).hexdigest(), "size": len(said)}
    file["url"] = f"/api/v1/adapters/owner/a/versions/sha256:{version.manifest.digest}/files/answers.json"
    scored["components"] = [{"folder": "", "scores": [{"benchmark": "glue/sst2", "metric": "accuracy", "value": 0.9}]}]
    version.report = scored
    target = tmp_path / "answers"
    code, _, err = run(capsys, "report", "owner/a:1", "--answers", str(target))
    assert (code, target.exists()) == (4, False)
    assert "shows no answers" in err
    scored["components"][0]["scores"][0]["answers"] = file
    sim.faults.tamper = lambda data: data[::-1]
    assert run(capsys, "report", "owner/a:1", "--answers", str(target))[0] == 6
    assert [path for path in target.rglob("*") if path.is_file()] == []
    sim.faults.tamper = None
    assert run(capsys, "report", "owner/a:1", "--answers", str(target))[0] == 0
    assert (target / file["path"]).read_bytes() == said


def test_search_and_info_read_well(sim: Simulator, capsys: Capture) -> None:
    sim.publish("library/sentiment-bert", specimens.lora(), label="1.0")
    code, out, _ = run(capsys, "search", "sentiment")
    assert code == 0
    assert out.splitlines()[0].startswith("ADAPTER")
    assert out.splitlines()[1].startswith("sentiment-bert")
    assert "1.0" in run(capsys, "info", "sentiment-bert")[1]
    assert "adapter_model.safetensors" in run(capsys, "info", "sentiment-bert:1.0")[1]
    assert json.loads(run(capsys, "search", "nothing", "--json")[1]) == {"results": []}


def test_words_of_others_cannot_steer_the_terminal(sim: Simulator, capsys: Capture) -> None:
    sim.publish("library/a", specimens.lora(), yanked="\x1b[2J\x1b]0;owned\x07\u202e gone")
    _, _, err = run(capsys, "pull", "a:1")
    assert "\x1b" not in err
    assert "\u202e" not in err


def test_login_reads_a_pipe_and_keeps_quiet_about_the_token(sim: Simulator, home: Path) -> None:
    command = [sys.executable, "-m", "hub", "login", "--endpoint", sim.url]
    done = subprocess.run(command, input=f"{OWNER}\n", cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert OWNER not in done.stdout + done.stderr
    assert "as owner" in done.stderr


def test_a_progress_bar_is_for_terminals(sim: Simulator, capsys: Capture) -> None:
    sim.publish("library/a", specimens.lora(padding=1 << 20))
    assert "%" not in run(capsys, "pull", "a")[2]


def test_a_fingerprint_comes_with_its_roots_its_casts_and_what_else_makes_a_base_model(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = base_folder.read(specimens.BASE, casts=True)
    code, out, _ = run(capsys, "fingerprint", str(specimens.BASE), "--json")
    told = json.loads(out)
    assert (code, told["fingerprint"], told["roots"]) == (0, base.fingerprint, base.roots)
    assert (told["cast_roots"], told["architecture"]) == (base.cast_roots, base.architecture)
    assert (told["tokenizer_digest"], told["quantisation"]) == (base.tokenizer_digest, None)
    lines = run(capsys, "fingerprint", str(specimens.BASE))[1].split("\n")
    assert lines[0] == base.fingerprint
    assert ["as bf16_of_fp16", base.cast_roots["bf16_of_fp16"]["root"]] in [
        line.strip().rsplit(None, 1) for line in lines
    ]
    assert len({len(line) - len(line.rsplit(None, 1)[-1]) for line in lines[1:-1]}) == 1, "values stand in one column"
    quick = json.loads(run(capsys, "fingerprint", str(specimens.BASE), "--json", "--no-casts")[1])
    assert quick == told | {"cast_roots": {}}
    monkeypatch.setattr("hub.casting.available", lambda: False)
    code, out, err = run(capsys, "fingerprint", str(specimens.BASE), "--json")
    assert (code, json.loads(out)) == (0, quick)
    assert "numpy" in err


def test_check_and_fingerprint_need_no_hub(capsys: Capture, folder: Path, tmp_path: Path) -> None:
    code, out, _ = run(capsys, "check", str(folder), "--base", str(specimens.BASE), "--json")
    assert (code, json.loads(out)["ok"]) == (0, True)
    wide = specimens.write(tmp_path / "wide", specimens.lora(hidden=48))
    assert run(capsys, "check", str(wide), "--base", str(specimens.BASE))[0] == 5
    broken = specimens.write(tmp_path / "broken", {**specimens.lora(), "evil.bin": b"\x80\x04"})
    assert run(capsys, "check", str(broken), "--base", str(specimens.BASE))[0] == 7
    assert run(capsys, "fingerprint", str(specimens.BASE))[1].startswith("base:")


def test_bases_benchmarks_and_policies(sim: Simulator, capsys: Capture, tmp_path: Path) -> None:
    assert run(capsys, "base", "add", str(specimens.BASE), "--name", "owner/tiny")[0] == 0
    assert "owner/tiny" in run(capsys, "base", "ls")[1]
    assert run(capsys, "base", "info", "owner/tiny")[0] == 0
    assert "did you mean owner/tiny" in run(capsys, "base", "info", "owner/tny")[2]
    files = {
        "b.yaml": b"name: owner/mood\ntask: text-classification\ndata: dev.tsv\ncolumns: {text: s, label: l}\n"
        b'labels: {"0": no, "1": yes}\nmetric: accuracy\n',
        "dev.tsv": b"s\tl\nfine\t1\nbad\t0\n",
        "p.yaml": b"required: [owner/mood]\n",
        "bad.yaml": b"name: owner/mood\ntask: nothing\n",
    }
    specimens.write(tmp_path, files)
    assert run(capsys, "benchmark", "add", str(tmp_path / "b.yaml"))[0] == 0
    assert "owner/mood" in run(capsys, "benchmark", "ls")[1]
    assert run(capsys, "benchmark", "info", "owner/mood")[0] == 0
    code, _, err = run(capsys, "benchmark", "add", str(tmp_path / "bad.yaml"))
    assert code == 2
    assert "labels" in err
    assert run(capsys, "policy", "set", "owner", str(tmp_path / "p.yaml"))[0] == 0
    assert "owner/mood" in run(capsys, "policy", "show", "owner")[1]
    assert run(capsys, "policy", "set", "owner", str(tmp_path / "b.yaml"))[0] == 2


def test_yank_and_its_undo(sim: Simulator, capsys: Capture) -> None:
    sim.publish("owner/a", specimens.lora())
    assert run(capsys, "yank", "owner/a:1")[0] == 2
    assert run(capsys, "yank", "owner/a:1", "--reason", "labels swapped")[0] == 0
    assert run(capsys, "pull", "owner/a:1")[0] == 8
    assert run(capsys, "yank", "owner/a:1", "--undo")[0] == 0
    assert run(capsys, "pull", "owner/a:1")[0] == 0


def test_every_verb_is_documented() -> None:
    text = (ROOT / "docs" / "client.md").read_text()
    top = cli.parser()
    verbs = next(action for action in top._actions if action.dest == "verb").choices
    for name, verb in verbs.items():  # type: ignore[union-attr]
        assert f"hub {name}" in text, name
        for action in verb._actions:
            for option in action.option_strings:
                assert option in {"-h", "--help", "-q", "-m"} or option in text, f"{name} {option}"


def test_what_lies_deeper_is_told_in_lines_and_not_as_json() -> None:
    told = known._pairs({"name": "a", "roots": {"pooler": "1", "backbone": "2"}, "aliases": ["a", "b"], "owner": None})
    assert told == ["name     a", "roots", "  pooler    1", "  backbone  2", "aliases  a; b", "owner    -"]
