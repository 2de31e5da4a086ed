"""The report's page: how large each layer's delta is, what it does to its base model, what judging again has shown."""

import hashlib
import re
from typing import Any

import pytest
from django.utils import timezone

from hub.spec import answers
from hub.spec import report as reports
from registry.models import Benchmark
from tests.flush import committed_tests_leave_the_seed
from tests.registry import factories as make
from tests.web import test_browser
from tests.web.test_browser import chromium

__all__ = ["chromium", "committed_tests_leave_the_seed"]

LAYERS = [f"encoder.layer.{n}.attention.self.{what}" for n in range(6) for what in ("query", "value")]
PAGE = "/a/acme/tone/v/1/report"


def told() -> dict[str, Any]:
    """A report as a worker of today writes it."""
    merged = [{"module": name, "ratio": 0.004 * (n + 1), "lost": 0.6 / (n + 1)} for n, name in enumerate(LAYERS)]
    evidence = {
        "effect": {"rows": 8, "hidden": 1.294, "noise": 3.46e-06},
        "drift": {"rows": 8, "cosine": 0.9421, "moved": 0.1234},
        "merge": {"layers": merged, "lost": 0.0721},
        "parity": {"library": "PEFT 0.21.2", "rows": 8, "distance": 3.1e-07, "flipped": 0},
    }
    checks = [reports.check(name, "passed", f"{name} was looked at", "", evidence.get(name)) for name in reports.CHECKS]
    score = {
        "benchmark": "glue/tiny", "digest": "sha256:" + "0" * 64, "metric": "accuracy", "direction": "up",
        "value": 0.86, "interval": [0.83, 0.89], "n": 872, "baselines": {"majority": 0.51, "probe": 0.72, "adapter_off": 0.5},
        "gain": {"value": 0.14, "interval": [0.1, 0.18], "over": "probe", "method": "paired bootstrap"},
        "gates": [{"gate": "min_gain", "threshold": 0.0, "bound": 0.1, "decided": True, "passed": True}],
        "runtime": "reference", "evidence": "ran",
        "details": {
            "classes": [{"label": name, "precision": 0.9, "recall": 0.8, "f1": 0.85, "support": 436} for name in ("negative", "positive")],
            "confusion": {"labels": ["negative", "positive"], "counts": [[400, 36], [86, 350]]},
        },
    }  # fmt: skip
    environment = {
        "torch": "2.13.0+cpu", "device": "cpu", "threads": 1, "dtype": "float32",
        "isolation": {"level": "full", "walls": ["network"]},
    }  # fmt: skip
    return {
        "verdict": "passed", "summary": "published: 15 of 15 checks passed.", "checks": checks, "seconds": 4.2,
        "components": [{"folder": "", "scores": [score]}], "environment": environment, "result_digest": "sha256:" + "1" * 64,
    }  # fmt: skip


@pytest.fixture
def version(db: None) -> Any:
    """acme/tone:1, published on that report, and failed when it was judged again with a newer torch."""
    namespace = make.make_namespace(name="acme")
    manifest, base = make.make_manifest(files={"adapter_config.json": b"{}"}), make.make_base_model()
    run = make.make_run(manifest=manifest, base=base, status="passed", report=told(), result_digest="1" * 64)
    found = make.make_version(
        adapter=make.make_adapter(namespace=namespace, name="tone"), run=run, regressed_at=timezone.now()
    )
    blob = make.make_blob(content=answers.to_lines([1] * 872))
    make.make_score(run=run, benchmark=make.make_benchmark(digest="0" * 64), answers=blob)
    newer = told() | {"environment": told()["environment"] | {"torch": "2.14.0+cpu"}}
    make.make_run(
        manifest=manifest, base=base, status="failed", report=newer, result_digest="2" * 64, repeats=run, plan=run.plan
    )
    return found


def test_every_layer_has_a_bar_in_proportion_and_a_figure(client: Any, version: Any) -> None:
    page = client.get(PAGE).content.decode()
    bars = re.findall(
        r'<svg class="layer".*?<rect class="lost" width="([\d.]+)".*?<rect class="kept" width="([\d.]+)"', page, re.S
    )
    assert [round(float(wide), 1) for wide, _ in bars] == [round(100 * (n + 1) / 12, 1) for n in range(12)]
    kept = [round(float(part) / float(wide), 2) for wide, part in bars]
    assert kept == [round(1 - 0.6 / (n + 1), 2) for n in range(12)]
    assert all(name in page for name in LAYERS)
    assert "0.40\N{NO-BREAK SPACE}%" in page and "4.80\N{NO-BREAK SPACE}%" in page


def test_effect_drift_merging_and_parity_stand_there_as_numbers(client: Any, version: Any) -> None:
    page = client.get(PAGE).content.decode()
    found = dict(
        re.findall(r"<li><b>([^<]*)</b><span>([^<]*)</span></li>", page.split("What it does to the base model")[1])
    )
    assert {"1.29", "3.46e-06", "0.942", "3.1e-07"} <= set(found)
    assert found["7.21\N{NO-BREAK SPACE}%"] == "of the delta lost when merged in bfloat16"


def test_what_was_answered_row_by_row_is_a_link_beside_its_score_and_none_where_the_benchmark_is_private(
    client: Any, version: Any
) -> None:
    sha256 = hashlib.sha256(answers.to_lines([1] * 872)).hexdigest()
    link = f'href="/api/v1/adapters/acme/tone/versions/{version.number}/answers/{sha256}">Answers row by row</a>'
    assert link in client.get(PAGE).content.decode()
    Benchmark.objects.update(visibility="private")
    assert "Answers row by row" not in client.get(PAGE).content.decode()


def test_a_regression_is_told_with_what_ran_otherwise(client: Any, version: Any) -> None:
    page = client.get(PAGE).content.decode()
    assert "<b>Regressed.</b>" in page and "It stays published" in page
    assert "<code>torch</code> 2.13.0+cpu → 2.14.0+cpu" in page
    assert "regressed" in client.get("/a/acme/tone").content.decode()


@pytest.mark.parametrize(("ended", "shown"), [("error", "not judged"), ("leased", "validating")])
def test_a_run_that_ended_without_a_verdict_is_followed_no_further(
    client: Any, version: Any, ended: str, shown: str
) -> None:
    run = make.make_run(
        manifest=version.manifest, base=version.base_model, plan=make.make_plan(), status=ended, error="it burned"
    )
    make.make_version(adapter=version.adapter, number=2, run=run, status="validating", stage="queued")
    person = make.make_user()
    make.make_membership(namespace=version.adapter.namespace, user=person, role="owner")
    client.force_login(person)
    for address in ("/a/acme/tone/v/2", "/a/acme/tone/v/2/report"):
        page = client.get(address).content.decode()
        chips = re.findall(r'<span class="chip warn"><span aria-hidden="true">.</span>([a-z ]+)</span>', page)
        assert set(chips) - {"regressed"} == {shown}, address
        assert ("data-refresh" in page) == (ended == "leased"), address
    page = client.get("/a/acme/tone/v/2").content.decode()
    assert ("The run ended without a verdict" in page) == (ended == "error")


def test_a_page_that_is_not_there_for_strangers_says_where_to_sign_in(client: Any, version: Any) -> None:
    secret = "/a/acme/secret/v/1/report"
    assert f'<a href="/login?next={secret}">sign in</a>' in client.get(secret).content.decode()
    client.force_login(make.make_user())
    assert "sign in</a>" not in client.get(secret).content.decode()


def test_a_score_and_its_gate_say_what_their_figures_are(client: Any, version: Any) -> None:
    page = client.get(PAGE).content.decode()
    assert "n = 872 rows; evidence: ran; runtime: reference" in page
    assert "min_gain: bound 0.100, needs 0.000" in page


@pytest.mark.parametrize("scored", [True, False])
def test_scores_have_a_heading_where_there_are_some(client: Any, db: None, scored: bool) -> None:
    """Of two adapters in a snapshot the second was not reached; where the first was not either, nothing is headed."""
    measured = told()["components"][0]["scores"] if scored else []
    parts = [{"folder": "first", "scores": measured}, {"folder": "second", "scores": []}]
    run = make.make_run(
        status="failed", report=told() | {"verdict": "failed", "components": parts}, result_digest="1" * 64
    )
    adapter = make.make_adapter(namespace=make.make_namespace(name="acme"), name="tone")
    make.make_version(adapter=adapter, run=run, status="rejected")
    owner = make.make_user()
    make.make_membership(namespace=adapter.namespace, user=owner, role="owner")
    client.force_login(owner)
    page = client.get(PAGE).content.decode()
    assert ("<h2>Scores</h2>" in page) == ("<h3>first</h3>" in page) == scored
    assert "<h3>second</h3>" not in page and "<h2>Checks</h2>" in page


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(
    not test_browser.CHROMIUM and not test_browser.REQUIRED,
    reason="no Chromium is installed (make browser requires it)",
)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_and_its_bars_can_be_told_apart(
    chromium: Any, live_server: Any, version: Any, width: int, scheme: str
) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    assert page.goto(live_server.url + PAGE).status == 200
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sizes = page.evaluate(
        "[...document.querySelectorAll('svg.layer')].map(bar => bar.getBoundingClientRect()).map(box => [box.width, box.height])"
    )
    assert len(sizes) == 12 and all(wide > 100 and high > 6 for wide, high in sizes)
    colours = page.evaluate(
        "['.kept', '.lost'].map(part => getComputedStyle(document.querySelector('.layer ' + part)).fill)"
    )
    assert len(set(colours)) == 2
    assert not complaints
    context.close()
