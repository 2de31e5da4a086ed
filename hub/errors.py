"""What can go wrong, sorted by what the caller does next. The number is the exit code of the command line.

* HubError                    1   a fault of our own: report it
  x StorageError              1   the local disk is full or not writable: make room, try again
  x UsageError                2   mend the call
    + Conflict                2   the hub holds something else there already: choose another name or label
  x AuthError                 3   log in, or ask for the missing permission
  x NotFound                  4   no such name, version, base model or benchmark (or none that you may see)
  x IncompatibleBaseModel     5   take another base model, or another adapter
  x IntegrityError            6   bytes are not what their digest says: nothing was kept
  x Rejected                  7   validation said no: read `.report`, mend the adapter
  x Yanked                    8   withdrawn by its owner: take another version, or pin the digest
  x NetworkError              9   the hub could not be reached or did not answer well: try again
  x NotJudged                10   no verdict (infrastructure, time-out): never to be read as a rejection

No message ever holds a token or the signature of a presigned URL: every text goes through `redact`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from hub.spec.errors import Problem, SpecError

_SECRETS = (
    (re.compile(r"(ahub(?:run)?_)[0-9A-Za-z]{4,}"), r"\1***"),
    (re.compile(r"(?i)(bearer\s+)[^\s'\",]+"), r"\1***"),
    (re.compile(r"(?i)([?&](?:x-amz-[a-z-]+|x-goog-[a-z-]+|signature|awsaccesskeyid|token|sig)=)[^&\s'\"]+"), r"\1***"),
    (re.compile(r"(https?://)[^/\s@]+@"), r"\1***@"),
)


def redact(text: str) -> str:
    """The same text without tokens, passwords in URLs and signatures of presigned URLs."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


class HubError(Exception):
    """The root of every error this package raises on purpose: one `except` catches the library.

    `.message` says what is wrong, `.hint` how to mend it, `.problems` lists single faults (all of them at once),
    `.code`, `.status` and `.request_id` come from the hub where it answered with a problem document.
    """

    exit_code: ClassVar[int] = 1
    shown: ClassVar[int | None] = None  # problems that a person is told; None for all

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        problems: Sequence[Problem] = (),
        code: str = "",
        status: int | None = None,
        request_id: str = "",
        data: Mapping[str, Any] | None = None,
    ) -> None:
        self.message = redact(message)
        self.hint = redact(hint)
        self.problems = tuple(problems)
        self.code = code
        self.status = status
        self.request_id = request_id
        self.data: dict[str, Any] = dict(data or {})
        super().__init__(self.message)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """The error for a person: the message, one line per problem, the hint."""
        lines, told = [self.message], ""
        for problem in self.problems[: self.shown]:
            place = f"{problem.where}: " if problem.where and problem.where not in problem.message else ""
            lines.append(redact(f"  - {place}{problem.message}"))
            if problem.hint and problem.hint != told:  # ten tensors of one wrong size need one piece of advice
                lines.append(redact(f"    {problem.hint}"))
            told = problem.hint
        if self.shown is not None and len(self.problems) > self.shown:
            lines.append(f"  and {len(self.problems) - self.shown} more")
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return lines

    def to_json(self) -> dict[str, Any]:
        """For `--json`: the error as one value."""
        return {
            "error": type(self).__name__,
            "exit_code": self.exit_code,
            "code": self.code or None,
            "message": self.message,
            "hint": self.hint or None,
            "problems": [problem.to_json() for problem in self.problems],
            "status": self.status,
            "request_id": self.request_id or None,
        }


class StorageError(HubError):
    """The local disk refused: full, over quota, read-only. Nothing partial was left in its final place."""


class UsageError(HubError):
    exit_code = 2


class Conflict(UsageError):
    """The hub holds something else there: a label that exists, a name that looks like another, a lost lease."""


class AuthError(HubError):
    exit_code = 3


class NotFound(HubError):
    exit_code = 4


class IncompatibleBaseModel(HubError):
    """A base model whose tensors clash; each is a problem. A person is told the first few: the others say the same."""

    exit_code = 5
    shown = 4


class IntegrityError(HubError):
    exit_code = 6


class _Judged(HubError):
    page = ""
    """Address of the report's page, where the hub has one."""

    def __init__(self, message: str, *, report: Mapping[str, Any] | None = None, **more: Any) -> None:
        super().__init__(message, **more)
        self.report: dict[str, Any] = dict(report or {})

    def lines(self) -> list[str]:
        return [*super().lines(), *([f"report: {self.page}"] if self.page else [])]

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "report": self.report or None}


class Rejected(_Judged):
    """Validation said no, here or on the hub. `.report` holds every check."""

    exit_code = 7


class Yanked(HubError):
    exit_code = 8


class NetworkError(HubError):
    exit_code = 9


class NotJudged(_Judged):
    """There is no verdict: the infrastructure failed or the time was up. Never to be read as a rejection."""

    exit_code = 10


_BY_CODE: dict[str, type[HubError]] = {
    "bad_request": UsageError,
    "unauthenticated": AuthError,
    "forbidden": AuthError,
    "not_found": NotFound,
    "not_published": NotFound,
    "unknown_base": NotFound,
    "unknown_benchmark": NotFound,
    "conflict": Conflict,
    "look_alike": Conflict,
    "label_exists": Conflict,
    "lease_lost": Conflict,
    "incomplete": Conflict,
    "offset": Conflict,
    "invalid": UsageError,
    "too_large": UsageError,
    "rejected": Rejected,
    "yanked": Yanked,
    "incompatible": IncompatibleBaseModel,
}
_BY_STATUS: dict[int, type[HubError]] = {
    401: AuthError,
    403: AuthError,
    404: NotFound,
    409: Conflict,
    410: NotFound,
    429: NetworkError,
}
_HINTS: dict[type[HubError], str] = {
    AuthError: "run `hub login`, or set HUB_TOKEN to a token with the scope that is asked for",
    NotFound: "check the name with `hub search`; a private one is only seen when you are logged in",
}


def from_answer(status: int, document: object, *, asked: str) -> HubError:
    """The error for an HTTP answer of 400 or more.

    `document` is the problem document (RFC 9457) or whatever else came; `asked` names the request ("GET resolve").
    """
    problem = document if isinstance(document, dict) else {}
    code = _text(problem.get("code"))
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status) or (NetworkError if status >= 500 else UsageError)
    detail = _text(problem.get("detail")) or _text(problem.get("title"))
    message = detail or f"the hub answered {status} to {asked}"
    return kind(
        message,
        hint=_text(problem.get("hint")) or _HINTS.get(kind, ""),
        problems=problems_from(problem.get("problems")),
        code=code,
        status=status,
        request_id=_text(problem.get("request_id")),
        data=problem,
    )


def from_spec(error: SpecError, message: str, *, hint: str = "") -> UsageError:
    """The usage error for input that breaks the format; one problem alone is said in the message."""
    if len(error.problems) == 1:
        only = error.problems[0]
        return UsageError(f"{message}: {only.where} {only.message}", hint=hint or only.hint)
    return UsageError(message, hint=hint, problems=error.problems)


def unfit(message: str, reasons: Iterable[str], *, hint: str, code: str = "incompatible") -> IncompatibleBaseModel:
    """The error for an adapter that is not for a base model; `reasons` name the tensors, each becomes a problem."""
    problems = [Problem(code, "", reason, "", "shapes") for reason in reasons]
    return IncompatibleBaseModel(message, hint=hint, problems=problems)


def problems_from(value: object) -> tuple[Problem, ...]:
    """Problems out of an answer, forgiving: what is not a problem is left out."""
    found = []
    for entry in value if isinstance(value, list) else []:
        if isinstance(entry, dict):
            found.append(
                Problem(
                    code=_text(entry.get("code")) or "invalid",
                    where=_text(entry.get("where")),
                    message=_text(entry.get("message")),
                    hint=_text(entry.get("hint")),
                    check=_text(entry.get("check")) or "files",
                )
            )
    return tuple(found)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
