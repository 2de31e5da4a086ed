"""The command line: `hub VERB ...`. Reads arguments, runs one verb, turns errors into exit codes (docs/client.md).

--json, --quiet, --endpoint and --token are understood before and after the verb.
"""

import argparse
import difflib
import logging
import os
import re
import sys
import traceback
from typing import NoReturn

from hub import config, errors, identity
from hub.commands import account, doctor, evaluate, find, get, known, publish
from hub.commands.context import Context, Output, Verbs, report_lines

GROUPS = (account, doctor, find, get, publish, evaluate, known)
_CHOICE = re.compile(r"invalid choice: '([^']*)' \(choose from (.*)\)")


class _Parser(argparse.ArgumentParser):
    """Raises UsageError where argparse would print and exit, so that there is one way out of the program."""

    def error(self, message: str) -> NoReturn:
        choice = _CHOICE.search(message)
        likely = difflib.get_close_matches(choice[1], re.findall(r"[\w-]+", choice[2]), n=3) if choice else []
        hint = f"did you mean {', '.join(likely)}?" if likely else f"{self.prog} --help"
        raise errors.UsageError(f"unknown: {choice[1]!r}" if choice else message, hint=hint)


def parser() -> argparse.ArgumentParser:
    """Every verb and its arguments."""
    top = _Parser(prog="hub", description="Adapters for frozen base models: find, fetch, publish.", parents=[_shared()])
    top.add_argument("--version", action="version", version=f"adapter-hub {config.VERSION}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    for group in GROUPS:
        group.add(verbs)
    _share(verbs)
    return top


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    out = Output(as_json="--json" in argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        _refuse_foreign()
        arguments = parser().parse_args(argv)
        out = Output(as_json=getattr(arguments, "json", False), quiet=getattr(arguments, "quiet", False))
        _log_to(out)
        return _run(Context(arguments, out))
    except errors.HubError as error:
        report = getattr(error, "report", None)
        if report and report.get("version") and not out.as_json:  # a refusal from here has told all in its problems
            for line in report_lines(report):
                out.say(line)
            error.problems = ()  # the report has just told them
        out.error(error)
        return error.exit_code
    except KeyboardInterrupt:
        print("hub: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # who read our output has gone: nothing is left to say
        return 0
    except Exception as error:
        if os.environ.get("HUB_DEBUG"):
            traceback.print_exc()
        told = errors.HubError(f"internal error: {type(error).__name__}: {error}", hint="HUB_DEBUG=1 shows where")
        out.error(told)
        return told.exit_code


def _run(context: Context) -> int:
    try:
        context.arguments.run(context)
    finally:
        context.close()
    return 0


def _shared() -> argparse.ArgumentParser:
    """The flags of every verb. Their default is absence: given before the verb, they survive the verb's own parser."""
    shared = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    group = shared.add_argument_group("everywhere")
    group.add_argument("--json", action="store_true", help="results as JSON on stdout")
    group.add_argument("--quiet", "-q", action="store_true", help="no progress, no remarks")
    group.add_argument("--endpoint", metavar="URL", help="the hub to ask (HUB_ENDPOINT)")
    group.add_argument("--token", metavar="TOKEN", help="the token to use (HUB_TOKEN)")
    return shared


def _share(verbs: Verbs) -> None:
    for verb in verbs.choices.values():
        verb._add_container_actions(_shared())
        for action in verb._actions:
            if isinstance(action, argparse._SubParsersAction):
                _share(action)


def _refuse_foreign() -> None:
    wrong = identity.overwritten()
    if wrong:
        raise errors.HubError(wrong, hint=identity.MEND)
    rival = identity.rival()
    if rival:
        print(f"hub: warning: {rival}; mend it: {identity.MEND}", file=sys.stderr)


class _Remarks(logging.Handler):
    def __init__(self, out: Output) -> None:
        super().__init__(logging.INFO)
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        word = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        self._out.say(f"hub: {word}{errors.redact(record.getMessage())}")


def _log_to(out: Output) -> None:
    logger = logging.getLogger("hub")
    logger.handlers = [_Remarks(out)]
    logger.propagate = False
    logger.setLevel(logging.INFO)
