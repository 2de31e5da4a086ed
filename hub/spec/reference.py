"""How adapters are named: `[namespace/]name[:version|:alias][@sha256:<64 hex>][#folder]`.

A bare name is `library/name`; it never means anything else. Two names that a person could take for one another
share a skeleton. The database holds the same skeletons as generated columns and refuses the second (a test
compares them).
"""

from __future__ import annotations

import dataclasses
import re

from hub.spec import documents, errors

LIBRARY = "library"
LATEST = "latest"
MAX_REFERENCE = 512
# the site's own routes
RESERVED_NAMESPACES = frozenset(
    {"a", "admin", "adapters", "api", "b", "client", "compare", "datasets", "docs", "livez", "login", "logout",
     "metrics", "models", "new", "o", "raw", "readyz", "search", "settings", "spaces", "static", "t", "u"}
)  # fmt: skip
MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")
"""How libraries name a base model that others can find, too: `name` or `owner/name`. A path is none."""
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,95}")
_BAD_PART = re.compile(r"--|\.\.|[.-]\Z|\.git\Z", re.IGNORECASE)
_LABEL = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")
_FOLDER = re.compile(r"[^/#@:\\\s]{1,100}(?:/[^/#@:\\\s]{1,100}){0,5}")
_SEPARATORS = re.compile(r"[-_.]+")
_LOOK_ALIKES = str.maketrans("lio", "110")
_FORM = "write [namespace/]name[:version][@sha256:<64 hex>][#folder]"


@dataclasses.dataclass(frozen=True)
class Reference:
    """Which adapter, and which state of it. `version`: label, number or alias; `digest`: 64 hex digits."""

    namespace: str
    name: str
    version: str | None = None
    digest: str | None = None
    folder: str | None = None

    @property
    def repo(self) -> str:
        """The adapter without a version: `namespace/name`."""
        return f"{self.namespace}/{self.name}"

    def __str__(self) -> str:
        """The whole reference; `library/` is written out, so that a log line stands for itself."""
        text = self.repo
        text += f":{self.version}" if self.version else ""
        text += f"@sha256:{self.digest}" if self.digest else ""
        return text + (f"#{self.folder}" if self.folder else "")


def parse(text: str) -> Reference:
    """Read a reference. Raises SpecError that says which part is wrong."""
    if len(text) > MAX_REFERENCE:
        raise _error("reference.too_long", text, f"a reference has at most {MAX_REFERENCE} characters", _FORM)
    rest, folder = _cut(text.strip(), "#")
    rest, digest = _cut(rest, "@")
    rest, version = _cut(rest, ":")
    namespace, slash, name = rest.partition("/")
    if not slash:
        namespace, name = LIBRARY, rest
    reference = Reference(namespace, name, version, _digest(digest, text), folder)
    _check_grammar(reference)
    return reference


def check_namespace(text: str) -> str:
    """Return the name of a namespace that may be made, or raise SpecError."""
    _match_name(text, "namespace")
    # by skeleton: /ap1/ must not pass for /api/
    if skeleton_strong(text) in {skeleton_strong(name) for name in RESERVED_NAMESPACES}:
        message = f"the namespace {text!r} is reserved (or looks like a reserved one)"
        raise _error("name.reserved", text, message, "choose another")
    return text


def check_name(text: str) -> str:
    """Return the name of an adapter, or raise SpecError."""
    _match_name(text, "name")
    return text


def check_label(text: str) -> str:
    """Return a version label or alias that a publisher may choose, or raise SpecError."""
    _match_label(text)
    if text.lower() == LATEST:
        message = "'latest' always means the newest published version"
        raise _error("label.reserved", text, message, "choose another, such as 1.0 or stable")
    return text


def skeleton_strong(text: str) -> str:
    """Return what is left of a name when l/1/I, o/0, case and separators look the same."""
    return _SEPARATORS.sub("", text).lower().translate(_LOOK_ALIKES)


def skeleton_mild(text: str) -> str:
    """Return what is left of a name when case and runs of separators look the same."""
    return _SEPARATORS.sub("-", text.lower())


def _cut(text: str, mark: str) -> tuple[str, str | None]:
    before, found, after = text.partition(mark)
    if found and not after:
        raise _error("reference.syntax", text, f"nothing follows the {mark!r}", _FORM)
    return before, after if found else None


def _digest(text: str | None, whole: str) -> str | None:
    if text is None:
        return None
    kind, _, value = text.partition(":")
    if kind != "sha256" or not documents.is_digest(value.lower()):
        raise _error("reference.digest", whole, "a digest is written @sha256: and 64 hex digits", _FORM)
    return value.lower()


def _check_grammar(reference: Reference) -> None:
    # what may be asked for is wider than what may be made: a reserved namespace is simply not there
    collector = errors.Collector()
    with collector.collect():
        _match_name(reference.namespace, "namespace")
    with collector.collect():
        _match_name(reference.name, "name")
    if reference.version is not None:
        with collector.collect():
            _match_label(reference.version)
    if reference.folder is not None:
        with collector.collect():
            _match_folder(reference.folder)
    collector.finalize()


def _match_name(text: str, what: str) -> None:
    if not _NAME.fullmatch(text) or _BAD_PART.search(text):
        message = f"{documents.shorten(text)!r} is not a valid {what}"
        hint = "use letters, digits and single . _ - between them, 96 characters at most"
        raise _error("name.syntax", what, message, hint)


def _match_label(text: str) -> None:
    if not _LABEL.fullmatch(text):
        message = f"{documents.shorten(text)!r} is not a valid version or alias"
        hint = "use letters, digits and . _ -, 64 characters at most, beginning with a letter or digit"
        raise _error("label.syntax", "version", message, hint)


def _match_folder(text: str) -> None:
    if not _FOLDER.fullmatch(text) or ".." in text.split("/") or not text.isprintable():
        message = f"{documents.shorten(text)!r} is not a folder of a snapshot"
        raise _error("folder.syntax", "folder", message, "write #folder or #folder/sub")


def _error(code: str, where: str, message: str, hint: str) -> errors.SpecError:
    return errors.SpecError.of(code, documents.shorten(where), message, hint, "config")
