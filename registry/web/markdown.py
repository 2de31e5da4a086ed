"""A publisher's README as safe HTML.

Markdown without raw HTML (markdown-it-py), then an allow-list of tags and attributes (nh3), so that a hole in one of them is no hole in
the page. Pictures are allowed from this hub's own origin only: a foreign picture would tell its server who reads the page.

A parser of Markdown looks ahead from every mark that may open something, so its time can go by the square of their number,
and everybody may ask for the page. So a README is read as Markdown only within a budget: of bytes, and of marks in one
paragraph. What is beyond is shown as the text that it is.
"""

import functools
import re

import nh3
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt

LONGEST = 64 << 10
"""Bytes of a README that are read as Markdown."""
MOST_BRACKETS = 2000
"""Opening brackets in all."""
MOST_NEAR, MOST_MARKS = 200, 2000
"""Opening brackets, and marks that may open or close something, in one paragraph."""
DEEPEST = 20
"""Levels of quotes and lists; the parser's own limit, below which it is fast."""
KEPT = 128
"""Rendered READMEs that a process remembers: a page is asked for more often than it changes."""
_PARAGRAPHS = re.compile(r"\n[ \t]*\n")
_MARKS = re.compile(r"[*_~`<&\\|!]")
_PLAIN = '<p><em>shown as plain text: {}</em></p><pre class="plain">{}</pre>'
TAGS = {
    "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "img", "li", "ol", "p", "pre",
    "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
ATTRIBUTES = {
    "a": {"href", "title"},
    "img": {"src", "alt", "title"},
    "code": {"class"},
    "td": {"style"},
    "th": {"style"},
}
PARSER = MarkdownIt("commonmark", {"html": False, "linkify": False, "maxNesting": DEEPEST}).enable(
    ["table", "strikethrough"]
)


def _attribute(tag: str, name: str, value: str) -> str | None:
    """Keep a picture only when it is ours; drop every style but the alignment that a Markdown table writes."""
    if tag == "img" and name == "src" and not (value.startswith("/") and not value.startswith("//")):
        return None
    if name == "style" and value not in ("text-align:left", "text-align:center", "text-align:right"):
        return None
    return value


def render(text: str) -> SafeString:
    """README text (front matter already taken off) -> HTML that cannot run, load or frame anything."""
    start, rest = _cut(text)
    why = over_budget(start)
    if why:
        return plain(text, why)
    shown = _html(start)
    return shown + plain(rest, f"longer than {LONGEST >> 10} KiB") if rest else shown


def over_budget(text: str) -> str:
    """Return what makes a text too expensive to be read as Markdown, empty where nothing does."""
    if text.count("[") > MOST_BRACKETS:
        return f"more than {MOST_BRACKETS} opening brackets"
    for paragraph in _PARAGRAPHS.split(text):
        if paragraph.count("[") > MOST_NEAR:
            return f"more than {MOST_NEAR} opening brackets in a paragraph"
        if len(_MARKS.findall(paragraph)) > MOST_MARKS:
            return f"more than {MOST_MARKS} marks in a paragraph"
    return ""


def plain(text: str, why: str) -> SafeString:
    """Return a text as it is, with a note why it is not read as Markdown."""
    return format_html(_PLAIN, why, text)


def _cut(text: str) -> tuple[str, str]:
    """Return what is read as Markdown of a long text, up to the end of a line, and the rest."""
    data = text.encode("utf-8", errors="replace")
    if len(data) <= LONGEST:
        return text, ""
    start = data[:LONGEST].decode("utf-8", errors="ignore")
    whole = start[: start.rfind("\n") + 1] or start
    return whole, text[len(whole) :]


@functools.lru_cache(maxsize=KEPT)
def _html(text: str) -> SafeString:
    clean = nh3.clean(
        PARSER.render(text),
        tags=TAGS,
        attributes=ATTRIBUTES,
        attribute_filter=_attribute,
        url_schemes={"http", "https", "mailto"},
        link_rel="nofollow ugc noopener",
    )
    return mark_safe(clean)  # noqa: S308  cleaned on the line above
