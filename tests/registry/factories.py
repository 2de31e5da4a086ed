"""Plain functions that make one row each, with whatever it stands on. Keyword-only; what is not given is made up."""

import hashlib
import itertools
from datetime import timedelta
from typing import Any

from django.utils import timezone

from hub.spec import documents, policy
from hub.spec import manifest as manifests
from registry import models

_numbers = itertools.count(1)

WEIGHTS = b"not really safetensors"


def sha256(content: bytes | str) -> str:
    """Return the hex SHA-256 of some content."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def digest_of(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON."""
    return documents.digest(value)


def unique(word: str) -> str:
    """Return a word no other call returns (and that looks like none of them)."""
    return f"{word}-{next(_numbers) * 7}x"


def make_user(*, username: str | None = None, **more: Any) -> models.User:
    return models.User.objects.create_user(username=username or unique("person"), password="secret", **more)


def make_namespace(
    *, name: str | None = None, kind: str = "user", owner: models.User | None = None, **more: Any
) -> models.Namespace:
    """Make a namespace; with an owner, their membership too."""
    namespace = models.Namespace.objects.create(name=name or unique("space"), kind=kind, **more)
    if owner is not None:
        make_membership(namespace=namespace, user=owner, role="owner")
    return namespace


def library() -> models.Namespace:
    """Return the namespace the first migration seeds."""
    return models.Namespace.objects.get(name="library")


def make_membership(
    *, namespace: models.Namespace | None = None, user: models.User | None = None, role: str = "write"
) -> models.Membership:
    return models.Membership.objects.create(
        namespace=namespace or make_namespace(), user=user or make_user(), role=role
    )


def make_token(
    *, user: models.User | None = None, scope: str = "push", secret: str | None = None, **more: Any
) -> models.Token:
    """Make a token whose row matches `secret`."""
    secret = secret or unique("ahub_secret")
    return models.Token.objects.create(
        user=user or make_user(), scope=scope, prefix=secret[:12], digest=sha256(secret), **more
    )


def make_sign_in(*, subject: str | None = None) -> models.SignIn:
    return models.SignIn.objects.create(subject=subject or sha256(unique("name")))


def make_adapter(
    *, namespace: models.Namespace | None = None, name: str | None = None, visibility: str = "public", **more: Any
) -> models.Adapter:
    return models.Adapter.objects.create(
        namespace=namespace or make_namespace(), name=name or unique("adapter"), visibility=visibility, **more
    )


def make_tombstone(
    *, namespace: models.Namespace, name: str = "", owner: models.User | None = None, **more: Any
) -> models.Tombstone:
    """Make the tombstone of a namespace or, with a name, of an adapter in it."""
    return models.Tombstone.objects.create(
        kind="adapter" if name else "namespace",
        namespace_id=namespace.pk,
        namespace_name=namespace.name,
        name=name,
        owner=owner,
        **more,
    )


def make_redirect(*, adapter: models.Adapter, name: str, namespace: models.Namespace | None = None) -> models.Redirect:
    return models.Redirect.objects.create(namespace=namespace or adapter.namespace, name=name, adapter=adapter)


def make_blob(
    *, content: bytes | None = None, sha256: str | None = None, size: int | None = None, **more: Any
) -> models.Blob:
    """Make the row of a blob (its bytes are the store's affair), or return the one that is there."""
    content = unique("bytes").encode() if content is None else content
    return models.Blob.objects.get_or_create(
        sha256=sha256 or hashlib.sha256(content).hexdigest(),
        defaults={"size": len(content) if size is None else size, **more},
    )[0]


def make_manifest(*, files: dict[str, bytes] | None = None) -> models.Manifest:
    """Make a manifest over these files, with their blobs, or return the one that is there."""
    if files is None:
        config = unique("{}").encode()
        files = {"adapter_config.json": config, "adapter_model.safetensors": WEIGHTS, "README.md": b"# hi"}
    content = manifests.Manifest(tuple(manifests.File(p, sha256(c), len(c)) for p, c in sorted(files.items())))
    row, made = models.Manifest.objects.get_or_create(
        digest=content.digest, defaults={"adapter_digest": content.adapter_digest, "size": content.size}
    )
    for file in content.files if made else ():
        blob = make_blob(sha256=file.sha256, size=file.size)
        models.ManifestFile.objects.create(manifest=row, path=file.path, blob=blob, size=blob.size)
    return row


def make_original(*, manifest: models.Manifest | None = None) -> models.Original:
    return models.Original.objects.create(
        manifest=manifest or make_manifest(),
        path="adapter_model.bin",
        blob=make_blob(),
        converted="adapter_model.safetensors",
    )


def make_component(*, manifest: models.Manifest | None = None, folder: str = "", **more: Any) -> models.Component:
    options = {"library": "peft", "method": "lora", "variant": "lora", "rank": 8, "parameters": 1000, **more}
    return models.Component.objects.create(manifest=manifest or make_manifest(), folder=folder, **options)


def make_need(*, modules: Any = None, whole: Any = None, probe: str = "", **more: Any) -> models.Need:
    options = {"digest": sha256(unique("need")), "modules": modules or {}, "whole": whole or {}, "probe": probe, **more}
    return models.Need.objects.create(**options)


def make_offer(*, modules: Any = None, whole: Any = None, **more: Any) -> models.Offer:
    options = {"digest": sha256(unique("offer")), "modules": modules or {}, "whole": whole or {}, **more}
    return models.Offer.objects.create(**options)


def make_content(*, blob: models.Blob | None = None, digest: str | None = None) -> models.Content:
    return models.Content.objects.create(blob=blob or make_blob(), digest=digest or sha256(unique("content")))


def make_commit(
    *,
    adapter: models.Adapter | None = None,
    manifest: models.Manifest | None = None,
    parent: models.Commit | None = None,
    author: models.User | None = None,
    oid: str | None = None,
    message: str = "",
) -> models.Commit:
    return models.Commit.objects.create(
        adapter=adapter or make_adapter(),
        manifest=manifest or make_manifest(),
        parent=parent,
        author=author or make_user(),
        oid=oid or sha256(unique("oid"))[:40],
        message=message,
    )


def make_ref(*, commit: models.Commit, kind: str = "head", name: str = "main") -> models.Ref:
    return models.Ref.objects.create(adapter=commit.adapter, commit=commit, kind=kind, name=name)


def make_base_model(
    *, fingerprint: str | None = None, state: str = "observed", name: str | None = None, **more: Any
) -> models.BaseModel:
    name = name or unique("bert")
    hexes = sha256(name)
    options = {
        "architecture": sha256("architecture"),
        "roots": {"backbone": hexes},
        "config": {"model_type": "bert", "hidden_size": 4},
        "tensors": [["embeddings.word_embeddings.weight", "F32", [8, 4], hexes]],
        "parameters": 32,
        **more,
    }
    return models.BaseModel.objects.create(
        fingerprint=fingerprint or f"base:{hexes}", state=state, name=name, **options
    )


def make_base_alias(
    *, base: models.BaseModel | None = None, name: str | None = None, kind: str = "hub", **more: Any
) -> models.BaseAlias:
    return models.BaseAlias.objects.create(
        base=base or make_base_model(), name=name or unique("org/bert"), kind=kind, **more
    )


def make_located_base(*, namespace: models.Namespace | None = None, **more: Any) -> models.LocatedBase:
    """Make a located base model of which a person has said who it is."""
    base = make_base_model()
    options = {
        "name": unique("org/big"),
        "source": "org/big",
        "revision": sha256(unique("commit"))[:40],
        "tensors": [row[:3] for row in base.tensors],
        "files": [{"path": "model.safetensors", "size": 128, "sha256": sha256("weights")}],
        "files_digest": sha256(unique("files")),
        "size": 128,
        "architecture": base.architecture,
        "offer": make_offer(),
        "state": "claimed",
        "base": base,
        "claimed_by": "somebody",
        "located_by": "operator",
        **more,
    }
    return models.LocatedBase.objects.create(namespace=namespace, **options)


def make_base_file(*, base: models.BaseModel | None = None, **more: Any) -> models.BaseFile:
    options = {"path": "config.json", "sha256": sha256(unique("file")), "size": 7, "stored_by": "operator", **more}
    return models.BaseFile.objects.create(base=base or make_base_model(), **options)


def make_base_relation(
    *, base: models.BaseModel | None = None, parent: models.BaseModel | None = None, kind: str = "derived", **more: Any
) -> models.BaseRelation:
    options = {"state": "observed", "claimed_by": "operator", **more}
    return models.BaseRelation.objects.create(
        base=base or make_base_model(), parent=parent or make_base_model(), kind=kind, **options
    )


def make_benchmark(*, name: str = "glue/tiny", digest: str | None = None, **more: Any) -> models.Benchmark:
    options: dict[str, Any] = {
        "task": "text-classification",
        "metric": "accuracy",
        "definition": {"name": name, "labels": {"0": "negative", "1": "positive"}},
        "files": {"dev.tsv": sha256("dev")},
        "rows": 4,
        **more,
    }
    return models.Benchmark.objects.create(name=name, digest=digest or sha256(unique(name)), **options)


def make_policy(
    *, namespace: models.Namespace | None = None, definition: dict[str, Any] | None = None
) -> models.Policy:
    return models.Policy.objects.create(
        namespace=namespace or make_namespace(), definition=definition or {"required": [], "gates": {}}
    )


def make_plan(*, benchmarks: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a plan no other call returns, unless its gates are never looked at."""
    return {"benchmarks": sorted(benchmarks), "gates": {"seed": next(_numbers)}, "protocol": policy.PROTOCOL}


def make_run(
    *,
    manifest: models.Manifest | None = None,
    base: models.BaseModel | None = None,
    plan: dict[str, Any] | None = None,
    status: str = "queued",
    **more: Any,
) -> models.Run:
    """Make a run in any status, with what that status needs: a lease, or a report."""
    manifest = manifest or make_manifest()
    plan = plan or make_plan()
    options: dict[str, Any] = {}
    if status == "leased":
        later = timezone.now() + timedelta(minutes=1)
        options |= {"lease_no": 1, "lease_token_digest": sha256(unique("lease")), "lease_expires_at": later}
    if status in ("passed", "failed"):
        report = {"verdict": status, "checks": [], "components": []}
        options |= {"report": report, "result_digest": digest_of(report), "finished_at": timezone.now()}
    return models.Run.objects.create(
        manifest=manifest,
        adapter_digest=manifest.adapter_digest,
        base_fingerprint=(base or make_base_model()).fingerprint,
        plan=plan,
        plan_digest=digest_of(plan),
        status=status,
        **(options | more),
    )


def make_score(
    *, run: models.Run | None = None, benchmark: models.Benchmark | None = None, value: float = 0.83, **more: Any
) -> models.Score:
    benchmark = benchmark or make_benchmark()
    options = {"metric": benchmark.metric, "low": value - 0.02, "high": value + 0.02, "n": 872, **more}
    return models.Score.objects.create(
        run=run or make_run(status="passed"), benchmark=benchmark, value=value, **options
    )


_RUN_OF = {"published": "passed", "rejected": "failed", "validating": "queued"}


def make_version(
    *,
    adapter: models.Adapter | None = None,
    status: str = "published",
    number: int | None = None,
    label: str | None = None,
    manifest: models.Manifest | None = None,
    base: models.BaseModel | None = None,
    run: models.Run | None = None,
    commit: models.Commit | None = None,
    **more: Any,
) -> models.Version:
    """Make a version in any status with its manifest, commit, base and (where the status has one) run."""
    adapter = adapter or make_adapter()
    manifest = manifest or (run.manifest if run else make_manifest())
    if run is None and status in _RUN_OF:
        run = make_run(manifest=manifest, base=base, status=_RUN_OF[status])
    options: dict[str, Any] = {}
    if run is not None:
        observed = run.base_model.observed
        options |= {"run": run, "base_fingerprint": run.base_fingerprint, "base_observed": observed}
        options |= {"plan": run.plan, "plan_digest": run.plan_digest, "run_passed": run.status == "passed" or None}
    if status in ("published", "hosted"):
        options["published_at"] = timezone.now()
    return models.Version.objects.create(
        adapter=adapter,
        number=number or adapter.versions.count() + 1,
        label=label,
        commit=commit or make_commit(adapter=adapter, manifest=manifest),
        digest=manifest.digest,
        adapter_digest=manifest.adapter_digest,
        status=status,
        **(options | more),
    )


def make_alias(*, version: models.Version | None = None, name: str = "prod") -> models.Alias:
    version = version or make_version()
    return models.Alias.objects.create(adapter=version.adapter, version=version, name=name)


def make_upload(
    *, adapter: models.Adapter | None = None, user: models.User | None = None, **more: Any
) -> models.Upload:
    manifest = {"files": [{"path": "adapter_config.json", "sha256": sha256("{}"), "size": 2}]}
    options = {"expires_at": timezone.now() + timedelta(days=1), **more}
    return models.Upload.objects.create(
        adapter=adapter or make_adapter(),
        user=user or make_user(),
        manifest=manifest,
        digest=digest_of(manifest),
        **options,
    )


def make_upload_blob(*, upload: models.Upload | None = None, n: int = 0, **more: Any) -> models.UploadBlob:
    options = {"path": f"file-{n}.json", "sha256": sha256(f"file {n}"), "size": 100, **more}
    return models.UploadBlob.objects.create(upload=upload or make_upload(), n=n, **options)


def make_event(*, kind: str = "adapter.created", **more: Any) -> models.Event:
    return models.Event.objects.create(kind=kind, **more)


def make_outbox(*, queue: str = "runs", kind: str = "workers.validate", **more: Any) -> models.Outbox:
    return models.Outbox.objects.create(queue=queue, kind=kind, **more)
