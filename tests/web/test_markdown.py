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
