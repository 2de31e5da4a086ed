"""A publisher's README as safe HTML.

Markdown without raw HTML (markdown-it-py), then an allow-list of tags and attributes (nh3), so that a hole in one of them is no hole in
the page. Pictures are allowed from this hub's own origin only: a foreign picture would tell its server who reads the page.
"""

import nh3
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt

MAX_README = 1 << 20
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
PARSER = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])


def _attribute(tag: str, name: str, value: str) -> str | None:
    """Keep a picture only when it is ours; drop every style but the alignment that a Markdown table writes."""
    if tag == "img" and name == "src" and not (value.startswith("/") and not value.startswith("//")):
        return None
    if name == "style" and value not in ("text-align:left", "text-align:center", "text-align:right"):
        return None
    return value


def render(text: str) -> SafeString:
    """README text (front matter already taken off) -> HTML that cannot run, load or frame anything."""
    dirty = PARSER.render(text[:MAX_README])
    clean = nh3.clean(
        dirty,
        tags=TAGS,
        attributes=ATTRIBUTES,
        attribute_filter=_attribute,
        url_schemes={"http", "https", "mailto"},
        link_rel="nofollow ugc noopener",
    )
    return mark_safe(clean)  # noqa: S308  cleaned on the line above
