"""What fits, in figures: a new adapter against many base models, a new base model against many adapters, the list of one base.

    python bench/compatibility.py [--bases 2000] [--adapters 1000,10000,100000] [--repeats 3] [--no-list]

Synthetic tables in a real PostgreSQL, the embedded one, with the settings of an embedded hub. Base models are encoders and decoders
of many sizes; adapters change some linear modules of one of them. Three ways to share needs:

    shared       as adapters are: popular base models, a dozen ways to choose modules
    distinct     no two adapters need the same: any modules of any layers, over all base models
    one base     no two need the same, all are for one base model, and that is the new one: every cell is written

Beside each stands the loop that a person would write: `hub.spec.compatibility.check` for each pair, values ready in memory
(over 2000 adapters at most, and reckoned up). A table on stderr, JSON on stdout; exit status 1 where the loop finds something else,
or anything takes more than two seconds.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from registry.embedded import account as accounts
from registry.embedded import folder as folders
from registry.embedded import postgres as postgresql

BAR = 2.0
BATCH = 2000
COLUMNS = ("base_fingerprint", "task", "method")
FAMILIES = {
    "bert": ("encoder.layer.{}.", ("attention.self.query", "attention.self.key", "attention.self.value",
             "attention.output.dense", "intermediate.dense", "output.dense")),
    "llama": ("layers.{}.", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
              "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")),
    "t5": ("encoder.block.{}.", ("layer.0.SelfAttention.q", "layer.0.SelfAttention.k", "layer.0.SelfAttention.v",
           "layer.0.SelfAttention.o", "layer.1.DenseReluDense.wi", "layer.1.DenseReluDense.wo")),
    "gpt2": ("h.{}.", ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")),
}  # fmt: skip


def say(text: str = "") -> None:
    print(text, file=sys.stderr, flush=True)


def models(count: int, draw: random.Random) -> list[dict[str, Any]]:
    """What so many base models offer, no two the same, the popular sizes first."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    while len(found) < count:
        family = draw.choice(sorted(FAMILIES))
        hidden, layers = draw.choice((256, 384, 512, 768, 1024, 2048, 4096)), draw.choice((4, 6, 12, 16, 24, 32))
        vocab = draw.choice((30522, 32000, 50257, 50265, 128256, draw.randrange(30000, 60000)))
        found.setdefault((family, hidden, layers, vocab), offer(family, hidden, layers, vocab))
    return list(found.values())


def offer(family: str, hidden: int, layers: int, vocab: int) -> dict[str, Any]:
    prefix, parts = FAMILIES[family]
    found: dict[str, Any] = {"embeddings.word_embeddings": {"rows": vocab, "width": hidden}}
    for layer in range(layers):
        for place, part in enumerate(parts):
            wide = place >= len(parts) - 2
            out = 4 * hidden if wide and place % 2 == len(parts) % 2 else hidden
            inner = 4 * hidden if wide and place % 2 != len(parts) % 2 else hidden
            found[prefix.format(layer) + part] = {"out": out, "in": inner}
        found[prefix.format(layer) + "LayerNorm"] = {"size": hidden}
    return found | {"": {"hidden": hidden, "layers": layers, "vocab": vocab}}


NEW = offer("bert", 768, 12, 99999)
"""The base model that comes last."""


def linears(of: dict[str, Any]) -> list[str]:
    return [path for path, sizes in of.items() if "in" in sizes]


def usual(of: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """A need as adapters have it: the same modules of every layer, and perhaps a head."""
    names = sorted({path.split(".", 3)[-1] for path in linears(of)})
    chosen = tuple(names[: draw.choice((1, 2, 2, 2, 3, len(names)))])
    found = {path: of[path] for path in linears(of) if path.endswith(chosen)}
    return found | ({"": {"hidden": of[""]["hidden"]}} if draw.random() < 0.5 else {})


def odd(of: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """A need that no other adapter has: any modules of any layers."""
    paths = linears(of)
    return {path: of[path] for path in draw.sample(paths, draw.randint(8, min(48, len(paths))))}


def needs(
    kind: str, count: int, bases: list[dict[str, Any]], new: dict[str, Any], draw: random.Random
) -> Iterator[Any]:
    """The need of each of so many adapters; a few are for the very base model that comes last."""
    popular = bases[:60]
    for n in range(count):
        if kind == "shared":
            of = new if n % 50 == 0 else popular[min(int(draw.paretovariate(0.6)) - 1, len(popular) - 1)]
            yield usual(of, draw)
        elif kind == "one base":
            yield odd(new, draw)
        else:
            yield odd(draw.choice(bases) if n % 100 else new, draw)


def timed(work: Callable[[], Any], repeats: int) -> float:
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return round(statistics.median(found), 4)


def fill(kind: Any, rows: Iterator[dict[str, Any]], probed: bool) -> list[Any]:
    """Write needs or offers that count as compared, each once; return their keys in the order of what came."""
    from hub.spec import documents
    from registry.services import fits

    keys: dict[str, int] = {}
    order, batch = [], []

    def flush() -> None:
        for row in kind.objects.bulk_create(batch):
            keys[row.digest] = row.pk
        batch.clear()

    for value in rows:
        digest = documents.digest(value)
        order.append(digest)
        if digest in keys:
            continue
        keys[digest] = 0
        modules, whole = fits.split(value)
        more = {"probe": fits._probe(modules)} if probed else {}
        batch.append(kind(digest=digest, modules=modules, whole=whole, compared_at=moment(), **more))
        if len(batch) == BATCH:
            flush()
    flush()
    analyse()
    return [keys[digest] for digest in order]


def moment() -> Any:
    from django.utils import timezone

    return timezone.now()


def run(sql: str, params: Any = ()) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(sql, params)


def analyse() -> None:
    run("ANALYZE registry_need, registry_offer, registry_fit")


def empty() -> None:
    run("TRUNCATE registry_fit, registry_component, registry_need")


def component(value: dict[str, Any]) -> Any:
    from hub.spec import components

    part = components.Part("m", "lora", {"w": "m.w"}, shapes={"w": (1, 1)}, needs=value)
    return components.Component("", "peft", "lora", "lora", {}, "w", (part,), None, 8, 1, 0)


def base(value: dict[str, Any]) -> Any:
    return types.SimpleNamespace(offers=value, modules={}, roots={}, fingerprint="base:")


def again(kind: Any, digest: str) -> Callable[[], None]:
    """Compare one row as if it had just come."""
    from registry.services import fits

    def work() -> None:
        assert fits.compare(digest=digest)

    def before() -> None:
        run("DELETE FROM registry_fit")
        kind.objects.filter(digest=digest).update(compared_at=None)

    work.before = before  # type: ignore[attr-defined]
    return work


def measured(work: Any, repeats: int) -> float:
    found = []
    for _ in range(repeats):
        work.before()
        found.append(timed(work, 1))
    return round(statistics.median(found), 4)


def new_adapters(bases: list[dict[str, Any]], repeats: int, draw: random.Random) -> list[dict[str, Any]]:
    """One new need against all base models."""
    from hub.spec import compatibility
    from registry.models import Fit, Need
    from registry.services import fits

    found = []
    for name, value in (("usual", usual(bases[0], draw)), ("a hidden size alone", {"": {"hidden": 768}})):
        row = fits.need_of(component=component(value))
        assert row is not None
        seconds = measured(again(Need, row.digest), repeats)
        there = Fit.objects.filter(need=row).count()
        one, others = component(value), [base(of) for of in bases]
        naive = timed(lambda: [compatibility.check([one], other) for other in others], repeats)
        fitting = sum(compatibility.check([one], other).level == "shape_only" for other in others)
        found.append({"need": name, "bases": len(bases), "fits": there, "agrees": there == fitting,
                      "seconds": seconds, "naive": naive, "ratio": round(naive / seconds, 1)})  # fmt: skip
    return found


def new_bases(
    bases: list[dict[str, Any]], counts: list[int], repeats: int, draw: random.Random
) -> list[dict[str, Any]]:
    """One new offer against all adapters, for each way to share needs and each number of adapters."""
    from hub.spec import compatibility
    from registry.models import Fit, Need, Offer
    from registry.services import fits

    new = NEW
    found = []
    for kind in ("shared", "distinct", "one base"):
        for count in counts:
            empty()
            values = list(needs(kind, count, bases, new, draw))
            keys = fill(Need, iter(values), probed=True)
            row = fits.offer_of(base=base(new))
            seconds = measured(again(Offer, row.digest), repeats)
            there = set(Fit.objects.filter(offer=row).values_list("need", flat=True))
            sample = values[: min(count, 2000)]
            parts, other = [component(value) for value in sample], base(new)
            naive = timed(lambda: [compatibility.check([part], other) for part in parts], repeats) * count / len(sample)
            levels = [compatibility.check([part], other).level for part in parts]
            agrees = all((key in there) == (level == "shape_only") for key, level in zip(keys, levels, strict=False))
            found.append({"needs": kind, "adapters": count, "distinct": len(set(keys)), "fits": sum(key in there for key in keys),
                          "cells": len(there), "agrees": agrees, "seconds": seconds, "naive": round(naive, 3),
                          "ratio": round(naive / seconds, 1)})  # fmt: skip
            say(f"  {kind}, {count} adapters: {seconds:.3f} s")
    return found


ADAPTERS = (
    "CREATE TEMPORARY TABLE bench AS SELECT n, need, encode(sha256(n::text::bytea), 'hex') AS digest"
    " FROM unnest(%(keys)s::bigint[]) WITH ORDINALITY AS given(need, n)",
    "INSERT INTO registry_manifest (digest, adapter_digest, size, created_at) SELECT digest, digest, 1000, now() FROM bench",
    "INSERT INTO registry_component (manifest_id, folder, library, method, variant, parameters, head_parameters, facts, need_id)"
    " SELECT digest, '', 'peft', 'lora', 'lora', 1000, 0, '{}', need FROM bench",
    "INSERT INTO registry_adapter (namespace_id, name, visibility, description, own_description, task, method, digest, adapter_digest,"
    " pulls, created_at, updated_at) SELECT (SELECT id FROM registry_namespace WHERE name = 'bench'), 'adapter-' || n, 'public', '', '',"
    " 'text-classification', 'lora', digest, digest, 0, now(), now() - n * interval '1 second' FROM bench",
    "INSERT INTO registry_commit (adapter_id, oid, manifest_id, author_id, message, created_at) SELECT id, left(digest, 40), digest,"
    " (SELECT id FROM registry_user), '', now() FROM registry_adapter",
    "INSERT INTO registry_version (adapter_id, number, commit_id, digest, adapter_digest, status, stage, message, created_at, published_at,"
    " yank_reason) SELECT a.id, 1, c.id, a.digest, a.digest, 'hosted', '', '', now(), now(), '' FROM registry_adapter a JOIN registry_commit c"
    " ON c.adapter_id = a.id",
)


KIN = 11
"""Base models that were trained on from the one whose list is read: as many as its matrix has columns for."""


def family(offer: Any) -> Any:
    """Write the base model whose list is read, and its kin; return it."""
    from registry.models import BaseModel, BaseRelation

    rows = [
        BaseModel(
            fingerprint=f"base:{n:064x}", name=f"bench-{n}", state="observed", offer=offer,
            architecture="0" * 64, roots={"backbone": f"{n:064x}"}, tensors=[], parameters=1,
        )
        for n in range(KIN + 1)
    ]  # fmt: skip
    first, *kin = BaseModel.objects.bulk_create(rows)
    BaseRelation.objects.bulk_create(
        BaseRelation(base=other, parent=first, kind=BaseRelation.Kind.DERIVED, state="observed") for other in kin
    )
    return first


def lists(values: list[Any], repeats: int) -> dict[str, Any]:
    """Seconds of what a reader waits for: a page of what fits, the counts by level and those to filter by, and the matrix of the
    base model and its kin, over so many adapters."""
    from registry.models import Namespace, Need, Offer, User
    from registry.queries import fits, grid, matrix, search, site
    from registry.queries.viewers import ANYBODY
    from registry.services import fits as writing

    empty()
    keys = fill(Need, iter(values), probed=True)
    offered = writing.offer_of(base=base(NEW))
    Offer.objects.filter(pk=offered.pk).update(compared_at=None)
    writing.compare(digest=offered.digest)
    User.objects.create(username="bench")
    Namespace.objects.create(name="bench", kind="user")
    row = family(offered)
    for statement in ADAPTERS:
        run(statement, {"keys": keys} if "%(" in statement else ())
    run("ANALYZE")
    target = fits.of_base(row, ANYBODY)
    return {
        "adapters": len(keys),
        "fits": sum(grid.counts([target], ANYBODY)[0].values()),
        "page by date": timed(lambda: search.search(search.SearchQuery(base=row.pk), ANYBODY), repeats),
        "page by score": timed(lambda: search.search(search.SearchQuery(base=row.pk, sort="score"), ANYBODY), repeats),
        "counts": timed(lambda: grid.counts([target], ANYBODY), repeats),
        "filters of all": timed(
            lambda: site.counted(search.matching(search.SearchQuery(), ANYBODY), ANYBODY, *COLUMNS), repeats
        ),
        "filters of what fits": timed(
            lambda: site.counted(search.matching(search.SearchQuery(base=row.pk), ANYBODY), ANYBODY, *COLUMNS), repeats
        ),
        f"matrix with {KIN} kin": timed(lambda: matrix.of(row.pk, ANYBODY, search.SearchQuery()), repeats),
    }


def table(found: dict[str, Any]) -> None:
    say("\na new adapter against base models")
    for row in found["adapter"]:
        say(
            f"{row['need']:>24} {row['bases']:>8} bases {row['fits']:>6} fit {row['seconds']:>8.3f} s   loop {row['naive']:>8.3f} s   ratio {row['ratio']:>7}"
        )
    say("\na new base model against adapters")
    for row in found["base"]:
        say(
            f"{row['needs']:>10} {row['adapters']:>8} adapters {row['distinct']:>8} needs {row['fits']:>7} fit {row['seconds']:>8.3f} s   loop {row['naive']:>8.3f} s   ratio {row['ratio']:>7}"
        )
    if "list" in found:
        say(f"\n{json.dumps(found['list'])}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bases", type=int, default=2000)
    parser.add_argument("--adapters", default="1000,10000,100000")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-list", action="store_true", help="leave out the page of what fits")
    given = parser.parse_args()
    counts = sorted(int(count) for count in given.adapters.split(","))
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    account = accounts.unprivileged()
    sockets = folders.make_sockets(account)
    cluster = postgresql.Postgres(
        data=sockets / "data",
        sockets=sockets,
        account=account,
        admin_password="bench",
        password="bench",
        log=folder / "log",
    )
    try:
        with postgresql.running(cluster):
            found = measure(cluster.url, given.bases, counts, given.repeats, listed=not given.no_list)
    finally:
        folders.remove_sockets(str(sockets))
        shutil.rmtree(folder, ignore_errors=True)
    table(found)
    print(json.dumps(found))
    return 0 if found["met"] else 1


def measure(url: str, bases: int, counts: list[int], repeats: int, *, listed: bool) -> dict[str, Any]:
    """Make the tables and measure everything."""
    os.environ |= {
        "DATABASE_URL": url, "HUB_SECRET_KEY": "bench " * 10, "DJANGO_SETTINGS_MODULE": "registry.settings",
        "HUB_STATEMENT_SECONDS": "600",
    }  # fmt: skip
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connections

    from registry.models import Offer

    call_command("migrate", verbosity=0)
    draw = random.Random(11)
    values = models(bases, draw)
    fill(Offer, iter(values), probed=False)
    found: dict[str, Any] = {"adapter": new_adapters(values, repeats, draw)}
    found["base"] = new_bases(values, counts, repeats, draw)
    if listed:
        found["list"] = lists(list(needs("shared", counts[-1], values, NEW, draw)), repeats)
    connections.close_all()
    rows = [*found["adapter"], *found["base"]]
    found["met"] = all(row["agrees"] and row["seconds"] <= BAR for row in rows)
    return found


if __name__ == "__main__":
    sys.exit(main())
