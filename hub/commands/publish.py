"""push, yank."""

from hub import errors
from hub.commands.context import Context, Verbs, report_lines, size
from hub.spec.words import counted
from hub.verdicts import page_of


def add(verbs: Verbs) -> None:
    """Adds the verbs of this file."""
    push = verbs.add_parser("push", help="publish a folder once the hub has judged it")
    push.add_argument("folder", metavar="DIR")
    push.add_argument("name", nargs="?", metavar="NAME", help="namespace/name (default: you/the folder's name)")
    push.add_argument("--base", metavar="NAME|FINGERPRINT|DIR", help="the base model it was trained on")
    push.add_argument(
        "--benchmark", action="append", default=[], metavar="B", help="judge it on this, too (repeatable)"
    )
    push.add_argument("--task", metavar="T", help="the ML task, where neither files nor benchmark say it")
    push.add_argument("--labels", metavar="L,L", help="names of the classes, by index")
    push.add_argument("--version", metavar="V", help="a label such as 1.4.0 (default: the next number)")
    push.add_argument("--message", "-m", default="", metavar="TEXT", help="what changed")
    push.add_argument("--private", action="store_true", help="a new adapter is seen by its namespace only")
    push.add_argument(
        "--wait", action="store_true", help="wait for the verdict: 0 published, 7 rejected, 10 not judged"
    )
    push.add_argument("--timeout", type=float, metavar="SECONDS", help="how long to wait (an hour)")
    push.add_argument("--dry-run", action="store_true", help="tell every problem, send nothing")
    push.set_defaults(run=_push)
    yank = verbs.add_parser("yank", help="withdraw a version; who pinned its digest still gets it")
    yank.add_argument("ref", metavar="REF")
    yank.add_argument("--reason", default="", metavar="R")
    yank.add_argument("--undo", action="store_true", help="take it back")
    yank.set_defaults(run=_yank)


def _push(context: Context) -> None:
    labels = [label.strip() for label in context.labels.split(",")] if context.labels else None
    if labels is not None and not all(labels):
        raise errors.UsageError(f"--labels {context.labels}: a label is empty", hint="--labels negative,positive")
    if context.dry_run:
        _dry_run(context, labels)
        return
    _propose(context)
    report = context.client.push(
        context.folder,
        context.name,
        base=context.base,
        task=context.task,
        benchmarks=context.benchmark,
        labels=labels,
        version=context.version,
        private=context.private,
        message=context.message,
        wait=context.wait,
        timeout=context.timeout,
        tell=context.progress,
    )
    page = page_of(context.client.wire.endpoint, report)
    told = [*report_lines(report), *([f"report: {page}"] if page else [])]
    lines = told if context.wait else [f"{report.ref}  {report.status}"]
    context.out.result(report, lines)
    if not context.wait:
        context.out.say(f"follow it: hub status {report.ref} --follow")


def _dry_run(context: Context, labels: list[str] | None) -> None:
    from hub import preparation
    from hub.spec import reference

    prepared = context.client.prepare(
        context.folder,
        base=context.base,
        task=context.task,
        benchmarks=context.benchmark,
        labels=labels,
        home=reference.parse(context.name).namespace if context.name else None,
    )
    preparation.refuse(prepared, context.folder)
    _propose(context)
    told = prepared.to_json()
    lines = [
        f"sha256:{prepared.manifest.digest}  {counted(len(told['files']), 'file')}, {size(told['size'])}; nothing is wrong"
    ]
    lines += [f"  {file['path']}  {size(file['size'])}" for file in told["files"]]
    lines += [f"  left out: {path}" for path in told["left_out"]]
    context.out.result(told, lines)


def _propose(context: Context) -> None:
    """Say which base models an adapter fits that names none."""
    from hub import preparation

    if context.base:
        return
    names = preparation.proposals(context.client.wire, context.folder)
    if names:
        what = f"hub push {context.folder} {context.name or 'NAME'} --base {names[0]}"
        context.out.say(f"no file names the base model it was trained on; it fits {', '.join(names)}: {what}")


def _yank(context: Context) -> None:
    found = context.client.yank(context.ref, context.reason, undo=context.undo)
    context.out.result(found, [f"{found.get('ref')} is {'back' if context.undo else 'yanked'}"])
