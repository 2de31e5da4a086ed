"""What every verb gets: its arguments, a client, and a place to write to.

Results go to stdout (JSON with --json), everything else to stderr.
"""

import argparse
import json
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from hub import errors
from hub.spec.report import against, over_what

if TYPE_CHECKING:
    from hub.client import Client
    from hub.verdicts import Report

Verbs: TypeAlias = "argparse._SubParsersAction[Any]"


class Output:
    """Where the words go. `as_json`: one JSON value on stdout, errors included. `quiet`: no prose on stderr."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json, self.quiet = as_json, quiet

    def result(self, value: Any, lines: Iterable[str] = ()) -> None:
        """What was asked for: the value for machines, or the lines for people."""
        if self.as_json:
            self._write(json.dumps(value, ensure_ascii=False, default=str))
        else:
            for line in lines:
                self._write(printable(line))

    def say(self, text: str) -> None:
        """A remark for the person at the terminal."""
        if not self.quiet:
            print(printable(text), file=sys.stderr, flush=True)

    def error(self, error: errors.HubError) -> None:
        """The error on stderr, and with --json also as a value on stdout."""
        if self.as_json:
            self._write(json.dumps(error.to_json(), ensure_ascii=False, default=str))
        head, *more = error.lines()
        print(printable(f"hub: {head}"), *map(printable, more), sep="\n", file=sys.stderr, flush=True)

    def _write(self, text: str) -> None:
        print(text, flush=True)


class Context:
    """One run of the command line."""

    def __init__(self, arguments: argparse.Namespace, out: Output) -> None:
        self.arguments, self.out = arguments, out
        self._client: Client | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.arguments, name)

    @property
    def client(self) -> "Client":
        """The client for --endpoint and --token. Made when it is first needed: --help needs none."""
        if self._client is None:
            from hub.client import Client

            self._client = Client(
                getattr(self.arguments, "endpoint", None),
                getattr(self.arguments, "token", None),
                quiet=self.out.quiet,
            )
        return self._client

    def close(self) -> None:
        """Gives the connections back."""
        if self._client is not None:
            self._client.close()

    def progress(self, report: "Report") -> None:
        """Tells how far a version is."""
        queue = report.get("queue") or {}
        place = f", place {queue['position']} in the queue" if queue.get("position") else ""
        self.out.say(f"{report.ref or 'the version'}: {report.status} {report.get('stage') or ''}{place}".rstrip())
        if report.get("verdict") is None and report.get("summary"):
            self.out.say(f"  {report['summary']}")


Run: TypeAlias = Callable[[Context], None]


def printable(text: str) -> str:
    """A text from elsewhere, unable to move the cursor, colour the terminal or turn the direction of writing."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in {"Cc", "Cf"} else "�" for c in text)


def table(head: tuple[str, ...], rows: Iterable[Iterable[Any]]) -> list[str]:
    """Rows in columns, as wide as their widest cell."""
    cells = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def size(count: int) -> str:
    """Bytes as people read them."""
    value, unit = float(count), "B"
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def report_lines(report: Mapping[str, Any]) -> list[str]:
    """A report for a person: verdict, every check, every score beside its baselines."""
    status = f" ({report['status']})" if report.get("status") else ""
    lines = [f"{report.get('version') or ''}  {report.get('verdict') or 'no verdict yet'}{status}".strip()]
    lines += [str(report["summary"])] if report.get("summary") else []
    again = report.get("revalidation")
    if isinstance(again, dict):
        result = "the same result" if again.get("same_result") else "another result digest"
        lines.append(f"judged again {str(again.get('at'))[:10]}: {again.get('verdict')}, {result}")
        before, now = again.get("protocol") or ("", "")
        lines += [f"  by other rules than then: protocol {before} -> {now}"] if before != now else []
    for check in report.get("checks") or []:
        mark = {"passed": "ok", "failed": "FAILED", "warning": "warning", "skipped": "-"}.get(check.get("status"), "?")
        lines.append(f"  {mark:<8}{check.get('name'):<10} {check.get('message')}")
        if check.get("hint") and check.get("status") in {"failed", "warning"}:
            lines.append(f"  {'':<8}{'':<10} {check['hint']}")
    for component in report.get("components") or []:
        for score in component.get("scores") or []:
            lines += _score_lines(str(component.get("folder") or ""), score)
    return lines


def _score_lines(folder: str, score: Mapping[str, Any]) -> list[str]:
    base = score.get("baselines") or {}
    beside = ", ".join(f"{name} {value:.3f}" for name, value in base.items() if isinstance(value, (int, float)))
    lines = [f"  score   {folder + ' ' if folder else ''}{score.get('benchmark')} {score.get('metric')} "]
    lines[0] += f"{_number(score.get('value'))} {_interval(score.get('interval'))} on {score.get('n')} rows; {beside}"
    gain = score.get("gain")
    if gain:
        less = " (less is better)" if score.get("direction") == "down" else ""
        span = f"{_number(gain.get('value'))} {_interval(gain.get('interval'))}"
        lines.append(f"          gain {span} {against(score)} the {over_what(gain)}{less}")
    for gate in score.get("gates") or []:
        mark = "ok" if gate.get("passed") else "FAILED"
        bound = f"needs {gate.get('threshold')}, bound {_number(gate.get('bound'))}"
        lines.append(f"          gate {gate.get('gate')} {mark}: {bound}")
    return lines


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, (int, float)) else "-"


def _interval(value: Any) -> str:
    return f"[{_number(value[0])}, {_number(value[1])}]" if isinstance(value, list) and len(value) == 2 else ""
