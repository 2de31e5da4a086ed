"""A README is somebody's words: it may look good, and it may do nothing."""

import pytest

from registry.web import markdown

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "handler": '<img src="/x" onerror="alert(1)">',
    "javascript link": "[click](javascript:alert(1))",
    "data link": "[click](data:text/html;base64,PHNjcmlwdD4=)",
    "vbscript link": "[click](vbscript:msgbox(1))",
    "entity link": "[click](&#106;avascript:alert(1))",
    "iframe": '<iframe src="https://evil.example"></iframe>',
    "svg": '<svg onload="alert(1)"></svg>',
    "style": '<p style="background:url(https://evil.example)">x</p>',
    "form": '<form action="https://evil.example"><input name=a></form>',
    "meta": '<meta http-equiv="refresh" content="0;url=https://evil.example">',
    "autolink": "<javascript:alert(1)>",
    "reference link": "[a]\n\n[a]: javascript:alert(1)",
    "foreign picture": "![track](https://evil.example/pixel.png)",
    "protocol-relative picture": "![track](//evil.example/pixel.png)",
    "table cell": "| a |\n|---|\n| <b onclick=alert(1)>x</b> |",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_readme_does_nothing(name: str) -> None:
    html = markdown.render(HOSTILE[name]).lower()
    tags = ["<" + part.split(">")[0] for part in html.split("<")[1:]]
    for word in (
        "<script",
        "<iframe",
        "<svg",
        "<form",
        "<meta",
        'href="javascript',
        'href="data',
        'src="http',
        'src="//',
    ):
        assert not any(word in tag for tag in tags), word
    assert not any(" on" in tag for tag in tags)


def test_a_parser_that_lets_html_through_is_still_cleaned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markdown, "PARSER", markdown.MarkdownIt("commonmark", {"html": True}))
    markdown._html.cache_clear()
    assert "<script" not in markdown.render("<script>alert(1)</script>")


def test_without_the_cleaning_the_same_readme_would_run() -> None:
    """The negative control: the specimens are live ammunition."""
    raw = markdown.MarkdownIt("commonmark", {"html": True}).render(HOSTILE["script"])
    assert "<script>" in raw


def test_what_people_write_keeps_its_form() -> None:
    html = markdown.render(
        "# Title\n\n| a | b |\n|---|--:|\n| 1 | ~~2~~ |\n\n- [x](https://example.org)\n\n```python\nhub.pull('x')\n```"
    )
    for piece in (
        "<h1>Title</h1>",
        "<table>",
        "text-align:right",
        "<li>",
        'href="https://example.org"',
        "nofollow",
        "<code",
    ):
        assert piece in html


def test_cleaning_twice_changes_nothing_more() -> None:
    import nh3

    once = markdown.render("a *b* `c` [d](https://e.example)")
    assert nh3.clean(once, link_rel="nofollow ugc noopener") == once


# What a parser of Markdown is slow at, each as long as a README may be.
QUADRATIC = ["[[](", "[", "![", "[a](", "![[]()", "[*_", "`a", "*a ", "**a", "~~a", "<a", "&", "a|", "\\["]


@pytest.mark.parametrize("unit", QUADRATIC)
def test_a_readme_that_would_take_minutes_is_shown_as_it_is(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = markdown.PARSER.render
    monkeypatch.setattr(markdown.PARSER, "render", lambda text: seen.append(len(text)) or real(text))
    html = markdown.render(unit * (1_000_000 // len(unit)))
    assert not seen  # the budget spoke before the parser was asked
    assert "shown as plain text: more than" in html
    assert "<script" not in html


@pytest.mark.parametrize("mark", ["- ", "> ", "* ", "1. "])
def test_a_readme_of_a_thousand_levels_is_nested_a_few_levels_only(mark: str) -> None:
    html = markdown.render((mark * 1000 + "a\n") * 30)
    assert max(html.count(tag * 2) for tag in ("<li>", "<blockquote>")) < 1000
    assert html.count("<li>") + html.count("<blockquote>") <= 30 * markdown.DEEPEST


def test_a_long_readme_is_read_as_markdown_up_to_a_line_and_the_rest_is_text() -> None:
    html = markdown.render("# Title\n\n" + "Ein Satz mit Wörtern.\n\n" * 5000 + "<script>alert(1)</script>")
    assert html.startswith("<h1>Title</h1>")
    assert html.count("shown as plain text: longer than 64 KiB") == 1
    assert html.endswith("&lt;script&gt;alert(1)&lt;/script&gt;</pre>")
    assert html.count("Ein Satz mit Wörtern.") == 5000


def test_a_real_readme_is_within_the_budget() -> None:
    table = "| model | score |\n|---|---|\n" + "| [a](https://a.example) | `0.9` |\n" * 100
    html = markdown.render(f"# Title\n\n{table}\n\n" + "A *word* and a [link](https://a.example).\n\n" * 500)
    assert "<table>" in html
    assert html.count("<a ") == 600


def test_a_readme_is_rendered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    markdown.render("# Seen before")
    monkeypatch.setattr(markdown.PARSER, "render", lambda text: pytest.fail("rendered again"))
    assert markdown.render("# Seen before") == "<h1>Seen before</h1>\n"


def test_broken_text_is_no_fault() -> None:
    assert "a" in markdown.render("a\ud800" * 40_000)
