"""eval: the worker's engine on this machine, without a server."""

from pathlib import Path
from typing import Any

from hub import errors
from hub.commands.context import Context, Verbs, report_lines

STAGES = 4
"""What a run goes through besides its benchmarks: base, checks, attach with effect, frozen."""


def add(verbs: Verbs) -> None:
    """Adds the verb of this file."""
    judge = verbs.add_parser(
        "eval", help="judge an adapter here with the worker's engine; of a published one, reproduce its report"
    )
    judge.add_argument("target", metavar="REF|DIR")
    judge.add_argument("--base", metavar="DIR", required=True, help="the folder of its base model")
    judge.add_argument(
        "--benchmark", action="append", default=[], metavar="FILE.yaml", help="judge it on this (repeatable)"
    )
    judge.add_argument("--parity", action="store_true", help="ask the library that wrote it, too (needs peft)")
    judge.set_defaults(run=_eval)


def _eval(context: Context) -> None:
    from hub import evaluation

    engine = evaluation.engine()
    given = evaluation.read_benchmarks(context.benchmark)
    base = Path(context.base).expanduser()
    if not base.is_dir():
        raise errors.UsageError(f"{context.base} is no folder", hint="--base DIR: the folder of the base model")
    folder = Path(context.target).expanduser()
    if folder.is_dir():
        report = _judged(context, engine, folder, base, given)
        lines = report_lines(report)
    else:
        report, lines = _reproduced(context, engine, base, given)
    passed = report["verdict"] == "passed"
    if passed or not context.out.as_json:  # a refusal is one JSON value, too, and holds the report
        context.out.result(report, lines)
    if not passed:
        raise _rejection(report, context)


def _judged(context: Context, engine: Any, folder: Path, base: Path, given: Any, **more: Any) -> dict[str, Any]:
    from hub import config, evaluation
    from hub.transfer.progress import Progress

    scratch = config.read().cache / "eval"
    with Progress(
        STAGES + 2 * len(given), "eval", quiet=context.out.quiet or context.out.as_json, unit=" stages"
    ) as bar:

        def tell(stage: str) -> None:
            bar.add(1)

        return dict(
            engine.evaluate(
                folder.resolve(),
                base.resolve(),
                given,
                adapter_digest=more.pop("adapter_digest", None) or evaluation.folder_digest(folder),
                scratch=scratch,
                parity=context.parity,
                tell=tell,
                **more,
            )
        )


def _reproduced(context: Context, engine: Any, base: Path, given: Any) -> tuple[dict[str, Any], list[str]]:
    from hub import evaluation, retrieval

    client = context.client
    found = client.pull(context.target, allow_shape_only=True)
    meant = retrieval.parse(found.ref)
    published = evaluation.published(client.wire, meant.repo, f"sha256:{found.digest.removeprefix('sha256:')}")
    plan = published["policy"]
    report = _judged(
        context,
        engine,
        Path(found.path),
        base,
        given,
        adapter_digest=published["adapter_digest"],
        plan=plan,
        fingerprint=(published.get("base_model") or {}).get("fingerprint"),
        previous=evaluation.previous(client.wire, meant.repo, plan),
    )
    compared = evaluation.compare(published, report, given)
    told = {**report, "compared": {"with": found.ref, **compared}}
    return told, [*report_lines(report), *evaluation.lines(compared)]


def _rejection(report: dict[str, Any], context: Context) -> errors.HubError:
    from hub.verdicts import Report, rejection

    told = rejection(Report(report), context.target)
    if not context.out.as_json:
        told.problems = ()  # the report has just told them
    return told
