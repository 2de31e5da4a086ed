"""base, benchmark, policy: what a hub must know before it judges."""

import json
from typing import Any

from hub.commands.context import Context, Verbs, size, table
from hub.spec.words import counted


def add(verbs: Verbs) -> None:
    """Adds the verbs of this file."""
    _add_base(verbs)
    _add_benchmark(verbs)
    policies = _group(verbs, "policy", "which benchmarks and gates decide in a namespace")
    show = policies.add_parser("show", help="the policy that decides")
    show.add_argument("namespace", metavar="NAMESPACE")
    show.set_defaults(run=_policy_show)
    put = policies.add_parser("set", help="set it")
    put.add_argument("namespace", metavar="NAMESPACE")
    put.add_argument("file", metavar="FILE.yaml")
    put.set_defaults(run=_policy_set)


def _add_base(verbs: Verbs) -> None:
    bases = _group(verbs, "base", "base models: where they lie here, what the hub knows")
    add_ = bases.add_parser(
        "add",
        help="hash a base model, remember its folder, register it with the hub; by its headers where it is not here",
    )
    add_.add_argument("source", metavar="DIR|OWNER/NAME[@REVISION]")
    add_.add_argument("--name", metavar="NAME", help="its name on the hub, such as acme/my-base")
    add_.add_argument("--download", action="store_true", help="fetch it whole and hash it, not its headers only")
    add_.add_argument("--store", action="store_true", help="keep its files on the hub, too (for operators)")
    add_.set_defaults(run=_base_add)
    bases.add_parser("ls", help="base models of the hub and of this machine").set_defaults(run=_base_ls)
    info = bases.add_parser("info", help="one base model")
    info.add_argument("name", metavar="NAME|FINGERPRINT")
    info.set_defaults(run=_base_info)


def _add_benchmark(verbs: Verbs) -> None:
    benchmarks = _group(verbs, "benchmark", "benchmarks")
    add_ = benchmarks.add_parser("add", help="register a benchmark with its data, which lies beside the file")
    add_.add_argument("file", metavar="FILE.yaml")
    add_.set_defaults(run=_benchmark_add)
    benchmarks.add_parser("ls", help="benchmarks of the hub").set_defaults(run=_benchmark_ls)
    info = benchmarks.add_parser("info", help="one benchmark")
    info.add_argument("name", metavar="NAME")
    info.set_defaults(run=_benchmark_info)


def _group(verbs: Verbs, name: str, text: str) -> Verbs:
    group = verbs.add_parser(name, help=text).add_subparsers(dest="action", metavar="ACTION", required=True)
    return group


def _base_add(context: Context) -> None:
    from hub import registration

    client = context.client
    told = registration.add_base(
        client.wire,
        client.settings,
        context.source,
        name=context.name,
        download=context.download,
        store=context.store,
        quiet=client.quiet,
    )
    if told["fingerprint"] is not None and not told["registered"]:
        context.out.say("remembered on this machine only: log in to register it with the hub")
    context.out.result(told, [told["fingerprint"] or _located(told)])


def _located(told: dict[str, Any]) -> str:
    """What there is to say of a base model of which only the headers were read."""
    place = f"{told['source']}@{told['revision'][:12]}"
    seen = f"{place}: {counted(told['tensors'], 'tensor')} in {size(told['size'])}, of which {size(told['read'])} were read"
    if not told["registered"]:
        return f"{seen}; log in to register it with the hub"
    return f"{seen}; {told['name']} is located, whoever holds its bytes gives it its fingerprint: hub base add DIR"


def _base_ls(context: Context) -> None:
    from hub import registration

    found = registration.list_bases(context.client.wire, context.client.settings)
    rows = (
        (b.get("name") or "-", b.get("state") or "-", b["fingerprint"] or "-", b.get("folder") or "") for b in found
    )
    context.out.result({"results": found}, table(("NAME", "STATE", "FINGERPRINT", "HERE"), rows))


def _base_info(context: Context) -> None:
    _info(context, "base-models")


def _benchmark_add(context: Context) -> None:
    from hub import registration

    told = registration.add_benchmark(context.client.wire, context.file)
    context.out.result(
        told, [f"{told.get('name')}  {told.get('digest')}  {counted(int(told.get('rows') or 0), 'row')}"]
    )


def _benchmark_ls(context: Context) -> None:
    found = context.client.request("GET", "benchmarks")["results"]
    rows = ((b["name"], b["task"], b["metric"], b.get("rows"), b["digest"]) for b in found)
    context.out.result({"results": found}, table(("NAME", "TASK", "METRIC", "ROWS", "DIGEST"), rows))


def _benchmark_info(context: Context) -> None:
    _info(context, "benchmarks")


def _info(context: Context, kind: str) -> None:
    from hub import suggestions
    from hub.verdicts import segment_path

    wire = context.client.wire
    with suggestions.about_name(wire, context.name, kind):
        found = wire.request("GET", f"{kind}/{segment_path(context.name)}").data
    context.out.result(found, _pairs(found))


def _policy_show(context: Context) -> None:
    from hub.verdicts import segment

    found = context.client.request("GET", f"policies/{segment(context.namespace)}")
    context.out.result(found, _pairs(found))


def _policy_set(context: Context) -> None:
    from hub import registration
    from hub.verdicts import segment

    definition = registration.read_policy(context.file)
    found = context.client.request("PUT", f"policies/{segment(context.namespace)}", json=definition)
    context.out.result(found, _pairs(found))


def _pairs(value: dict[str, Any], indent: str = "") -> list[str]:
    """An object for a person: a line for each value, what lies deeper below its name."""
    width = max((len(key) for key in value), default=0)
    lines = []
    for key, held in value.items():
        if isinstance(held, dict) and held:
            lines += [f"{indent}{key}", *_pairs(held, f"{indent}  ")]
        else:
            lines.append(f"{indent}{key:<{width}}  {_in_a_line(held)}".rstrip())
    return lines


def _in_a_line(held: Any) -> str:
    if isinstance(held, list):
        return "; ".join(map(_in_a_line, held)) or "-"
    if isinstance(held, dict):
        return ", ".join(f"{key} {_in_a_line(value)}" for key, value in held.items() if value not in ("", None)) or "-"
    return "-" if held in ("", None) else held if isinstance(held, str) else json.dumps(held, default=str)
