"""The pages in a real Chromium, at a phone's width and a desk's, light and dark: nothing overflows, nothing is refused by our
own content policy, the search and the token form work with the keyboard."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from registry.models import Version
from registry.queries.viewers import of_session
from registry.services import adapters, benchmarks, users
from tests.flush import committed_tests_leave_the_seed
from tests.registry import adapters as files
from tests.registry import factories

__all__ = ["committed_tests_leave_the_seed"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
REQUIRED = os.environ.get("HUB_TEST_BROWSER") == "required"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not CHROMIUM and not REQUIRED, reason="no Chromium is installed (make browser requires it)"),
]
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PASSWORD = "a long pass phrase"
FOLDERS = ("praise/checkpoint-of-the-best-epoch-with-a-long-name", "blame")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    assert CHROMIUM, "make browser needs a Chromium: apt-get install chromium"
    sync_api = pytest.importorskip("playwright.sync_api")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"  # Playwright runs an event loop in this thread
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        browser.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def site(live_server: Any) -> str:
    """A hub with a published adapter of long names and a person who may sign in; its address."""
    user = users.create(username="olivia", password=PASSWORD)
    namespace = factories.make_namespace(name="a-rather-long-team-name")
    factories.make_membership(namespace=namespace, user=user, role="owner")
    adapter = factories.make_adapter(
        namespace=namespace,
        name="praise-or-blame-in-very-short-sentences-bert-lora-r8",
        description="Tells praise from blame " * 6,
        task="text-classification",
        method="lora",
    )
    manifest = factories.make_manifest(files={"adapter_config.json": b"{}"})
    version = factories.make_version(adapter=adapter, manifest=manifest)
    gain = {"value": 0.2, "interval": [0.15, 0.25], "method": "paired bootstrap"}
    definition = files.BENCHMARK.format(name="a-rather-long-team-name/intents-of-a-long-name").encode()
    data = {"dev.tsv": files.DEV, "train.tsv": files.TRAIN}
    benchmark, _ = benchmarks.add(viewer=of_session(user), definition=definition, files=data)
    factories.make_score(run=version.run, benchmark=benchmark, gain=gain, component_folder=FOLDERS[0])
    for folder in FOLDERS:
        factories.make_component(manifest=manifest, folder=folder)
    Version.objects.filter(pk=version.pk).update(report=report_of_many_classes())
    adapters.refresh(adapter=adapter)
    factories.make_base_alias(base=version.base_model, name="a-bert")
    kin = factories.make_base_model(name="a-rather-long-team-name/a-base-model-with-a-long-name-of-its-own-v2")
    factories.make_base_relation(base=kin, parent=version.base_model)
    return str(live_server.url)


def report_of_many_classes() -> dict[str, Any]:
    """A report with as many classes as a heat map shows, long names among them."""
    labels = [f"class-{n}-of-some-length" for n in range(20)]
    counts = [[40 if i == j else (i * j) % 7 for j in range(20)] for i in range(20)]
    classes = [{"label": name, "precision": 0.9, "recall": 0.8, "f1": 0.847, "support": 60} for name in labels]
    score = {
        "benchmark": "a-rather-long-team-name/intents", "metric": "accuracy", "direction": "up", "value": 0.83,
        "interval": [0.81, 0.85], "n": 872, "baselines": {"majority": 0.5, "probe": 0.6, "adapter_off": None},
        "gain": {"value": 0.2, "interval": [0.15, 0.25], "over": "probe", "method": "paired bootstrap",
                 "mcnemar": {"better": 240, "worse": 40, "p": 1e-30}},
        "also": [{"metric": "f1", "value": 0.8, "interval": [0.78, 0.82]}], "claimed": 0.85, "gates": [],
        "runtime": "reference", "evidence": "ran",
        "details": {"classes": classes, "confusion": {"labels": labels, "counts": counts}},
    }  # fmt: skip
    return {"verdict": "passed", "summary": "s", "components": [{"folder": "", "scores": [score]}], "checks": []}


PAGES = (
    "/",
    "/adapters",
    "/adapters?q=nothing-like-it",
    "/a/a-rather-long-team-name/praise-or-blame-in-very-short-sentences-bert-lora-r8",
    "/a/a-rather-long-team-name/praise-or-blame-in-very-short-sentences-bert-lora-r8/v/1/report",
    "/b/a-bert",
    "/t/a-rather-long-team-name/intents-of-a-long-name",
    "/adapters?base=a-bert",
    "/login",
    "/settings/tokens",
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_page_fits_and_breaks_no_policy(chromium: Any, site: str, width: int, scheme: str) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    sign_in(page, site)
    for address in PAGES:
        assert page.goto(site + address).status == 200, address
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address
    assert not complaints
    context.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_a_heat_map_of_twenty_classes_scrolls_within_itself(chromium: Any, site: str, width: int) -> None:
    page = chromium.new_context(viewport={"width": width, "height": 844}).new_page()
    page.goto(site + PAGES[4])
    page.click("text=Class by class")
    assert page.locator(".heat td").count() == 400
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shades = page.eval_on_selector_all(
        ".heat td.h9, .heat td.h1", "all => all.map(td => getComputedStyle(td).backgroundColor)"
    )
    assert len(set(shades)) > 1, "the shades are drawn"
    if path := os.environ.get("HUB_TEST_PICTURES"):
        page.locator(".behind").screenshot(path=f"{path}/heat-{width}.png")


def test_one_signs_in_makes_a_token_and_sees_it_once(chromium: Any, site: str) -> None:
    page = chromium.new_context().new_page()
    sign_in(page, site)
    page.goto(f"{site}/settings/tokens")
    page.fill("input[name=name]", "laptop")
    page.select_option("select[name=scope]", "push")
    page.keyboard.press("Enter") if page.evaluate("document.activeElement.tagName") == "INPUT" else page.click(
        "text=Create token"
    )
    page.wait_for_selector("text=will not be shown again")
    secret = page.inner_text(".banner code")
    assert secret.startswith("ahub_")
    page.reload()
    assert secret not in page.content()


def test_the_search_box_finds_the_adapter(chromium: Any, site: str) -> None:
    page = chromium.new_context().new_page()
    page.goto(site)
    page.fill("main input[type=search]", "praise")
    page.keyboard.press("Enter")
    page.wait_for_url("**/adapters?q=praise")
    page.click("text=praise-or-blame")
    page.wait_for_selector("text=Base model")


def sign_in(page: Any, site: str) -> None:
    page.goto(f"{site}/login")
    page.fill("input[name=username]", "olivia")
    page.fill("input[name=password]", PASSWORD)
    page.click("main button")
    page.wait_for_url(f"{site}/")
