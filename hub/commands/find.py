"""search, find-hash, info, status, report."""

from typing import Any

from hub import errors
from hub.commands.context import Context, Verbs, report_lines, size, table
from hub.spec.words import counted

_HELD = {"file": "the file", "tensors": "its tensors", "adapter": "the adapter", "manifest": "the snapshot"}
SORTS = ("score", "gain", "recent", "size", "pulls")


def add(verbs: Verbs) -> None:
    """Adds the verbs of this file."""
    search = verbs.add_parser("search", help="find adapters")
    search.add_argument("query", nargs="?", default="", metavar="QUERY")
    search.add_argument(
        "--base", metavar="NAME|FINGERPRINT|DIR", help="only what fits this base model, best level first"
    )
    search.add_argument("--task", metavar="T")
    search.add_argument("--benchmark", metavar="B", help="only what was measured on it")
    search.add_argument("--method", metavar="M", help="lora, bottleneck, houlsby, pfeiffer, ...")
    search.add_argument("--sort", choices=SORTS)
    search.add_argument("--limit", type=int, default=50, metavar="N")
    search.set_defaults(run=_search)
    hashed = verbs.add_parser("find-hash", help="which adapters hold a file, by its SHA-256 or the file itself")
    hashed.add_argument("target", metavar="SHA256|FILE", help="of a safetensors file its tensors count, not its header")
    hashed.set_defaults(run=_find_hash)
    for name, text, run in (
        ("info", "an adapter with its versions, or one version with its files", _info),
        ("status", "how far a version is (without one: the newest)", _status),
        ("report", "every check and score of a version", _report),
    ):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("ref", metavar="REF")
        verb.set_defaults(run=run)
        if name == "status":
            verb.add_argument("--follow", action="store_true", help="wait for the verdict")
            verb.add_argument("--timeout", type=float, metavar="SECONDS", help="how long to wait (an hour)")
        if name == "report":
            verb.add_argument(
                "--answers", metavar="DIR", help="put there what it answered to every row, a file a score"
            )


def _search(context: Context) -> None:
    found = context.client.search(
        context.query,
        base=context.base,
        task=context.task,
        benchmark=context.benchmark,
        method=context.method,
        sort=context.sort,
        limit=context.limit,
    )
    context.out.result({"results": found}, _found_lines(found, levels=bool(context.base)) if found else [])
    if not found:
        context.out.say("nothing fits" if context.base else "no adapters found")


def _found_lines(found: list[dict[str, Any]], *, levels: bool) -> list[str]:
    """A table; where a base model is asked for, with the level on it in place of the pulls."""
    if levels:
        head = ("ADAPTER", "VERSION", "LEVEL", "METHOD", "BASE", "SCORES", "SIZE")
        return table(head, ((*_row(entry)[:2], _level(entry), *_row(entry)[2:6]) for entry in found))
    return table(("ADAPTER", "VERSION", "METHOD", "BASE", "SCORES", "SIZE", "PULLS"), map(_row, found))


def _level(entry: dict[str, Any]) -> str:
    return str((entry.get("compatibility") or {}).get("level") or "unknown")


def _find_hash(context: Context) -> None:
    told = context.client.find_hash(context.target)
    rows = (
        (
            row["adapter"].removeprefix("library/"),
            row["version"]["version"],
            row["version"]["status"],
            _HELD.get(row["kind"], row["kind"]),
            row.get("path") or "-",
        )
        for row in told["results"]
    )
    context.out.result(told, table(("ADAPTER", "VERSION", "STATUS", "HOLDS", "PATH"), rows))
    for what, digest in told["digests"].items():
        context.out.say(f"{what:<7} {digest}")


def _info(context: Context) -> None:
    found = context.client.info(context.ref)
    context.out.result(found, _version_lines(found) if "files" in found else _adapter_lines(found))


def _status(context: Context) -> None:
    report = context.client.status(context.ref, follow=context.follow, timeout=context.timeout, tell=context.progress)
    context.out.result(report, report_lines(report)[:2])


def _report(context: Context) -> None:
    report = context.client.report(context.ref)
    if context.answers:
        if not report.answers:
            message = f"the report of {report.ref or context.ref} shows no answers row by row"
            raise errors.NotFound(message, hint="they are shown of benchmarks that are public, once there is a score")
        context.client.download(report.answers, context.answers)
        context.out.say(f"{counted(len(report.answers), 'file')} of answers in {context.answers}")
    context.out.result(report, report_lines(report))


def _row(entry: dict[str, Any]) -> tuple[Any, ...]:
    latest = entry.get("latest") or {}
    scores = [f"{s['benchmark']} {s['value']:.3f}" for s in latest.get("scores") or []]
    best = f"{scores[0]} +{len(scores) - 1}" if len(scores) > 1 else "".join(scores)
    name = f"{entry['namespace']}/{entry['name']}".removeprefix("library/")
    base = (entry.get("base_model") or {}).get("name") or ""
    count = size(int(latest.get("size") or 0))
    return name, latest.get("version", "-"), entry.get("method", ""), base, best, count, entry.get("pulls", 0)


def _adapter_lines(found: dict[str, Any]) -> list[str]:
    base = found.get("base_model") or {}
    rows = ((v["version"], v["status"], size(int(v.get("size") or 0)), v.get("digest")) for v in found["versions"])
    return [
        f"{found['namespace']}/{found['name']} ({found.get('visibility')})",
        *([str(found["description"])] if found.get("description") else []),
        f"task {found.get('task')}, method {found.get('method')}",
        f"base model {base.get('name') or base.get('fingerprint') or 'unknown'}",
        "",
        *table(("VERSION", "STATUS", "SIZE", "DIGEST"), rows),
    ]


def _version_lines(found: dict[str, Any]) -> list[str]:
    base = found.get("base_model") or {}
    return [
        f"{found.get('ref')}  {found.get('status')}",
        f"digest      {found.get('digest')}",
        f"base model  {base.get('name') or ''} {base.get('fingerprint') or ''}",
        f"task        {found.get('task')}   method {found.get('method')}   parameters {found.get('parameters')}",
        *([f"yanked      {found['yanked'].get('reason')}"] if found.get("yanked") else []),
        *(
            [f"regressed   since {found['regressed'].get('at')}: judged again, it failed"]
            if found.get("regressed")
            else []
        ),
        "",
        *table(("FILE", "SIZE", "SHA-256"), ((f["path"], size(f["size"]), f["sha256"]) for f in found["files"])),
    ]
