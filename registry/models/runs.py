"""Runs: the queue of record and the evidence of publication."""

import uuid
from typing import Self

from django.db import models
from django.db.models import CheckConstraint, ExpressionWrapper, F, GeneratedField, Index, Q, UniqueConstraint
from django.db.models.functions import Now
from django.utils import timezone

from registry.models import rules
from registry.models.base_models import BaseModel
from registry.models.benchmarks import Benchmark, Direction
from registry.models.blobs import Blob, Manifest


class RunStatus(models.TextChoices):
    QUEUED = "queued"
    LEASED = "leased"
    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    SUPERSEDED = "superseded"


class RunQuerySet(models.QuerySet["Run"]):
    """Questions about runs."""

    def waiting(self) -> Self:
        """Return the queue in its order: what is urgent first, then the oldest."""
        return self.filter(status=RunStatus.QUEUED).order_by("priority", "created_at", "pk")

    def claimable(self) -> Self:
        """Return those of the queue that may be claimed now, by the clock of the database: the others pause."""
        return self.waiting().filter(Q(not_before=None) | Q(not_before__lte=Now()))

    def evidence_for(self, adapter_digest: str, base_fingerprint: str, plan_digest: str) -> Self:
        """Return the run, at most one, that waits, runs or was judged under this key. One that repeats another is no evidence."""
        key = {"adapter_digest": adapter_digest, "base_fingerprint": base_fingerprint, "plan_digest": plan_digest}
        return self.filter(**key, repeats=None).exclude(status__in=[RunStatus.ERROR, RunStatus.SUPERSEDED])


_JUDGED = Q(status__in=["failed", "passed"])
_LEASED = Q(status="leased")


class Run(models.Model):
    """One judgement of one adapter on one base under one plan: the triple is the evidence key.

    While leased, `lease_token_digest` is the SHA-256 of the run token; when the report comes in it moves to
    `report_token_digest`, by which the same report, sent twice, is known again. While queued after a fault, it may not be
    claimed `not_before` an hour (null: at once), so that one broken worker cannot use up the attempts of a whole queue.

    A run that `repeats` another asks its question again, of the programs and machines of today. It publishes nothing and is
    evidence of nothing: it flags the versions that stand on the first (`regressed_at`). `priority` 0 goes before 1.
    """

    Status = RunStatus

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    adapter_digest = rules.DigestField()
    base_fingerprint = models.CharField(max_length=69)
    plan_digest = rules.DigestField()
    plan = models.JSONField()
    manifest = models.ForeignKey(Manifest, models.PROTECT, related_name="runs")
    status = models.CharField(max_length=16, choices=RunStatus.choices, default=RunStatus.QUEUED)
    priority = models.PositiveSmallIntegerField(default=0)
    repeats = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="repetitions")
    passed = GeneratedField(
        expression=ExpressionWrapper(Q(status="passed"), output_field=models.BooleanField()),
        output_field=models.BooleanField(),
        db_persist=True,
    )
    stage = models.CharField(max_length=64, default="", blank=True)
    lease_no = models.PositiveIntegerField(default=0)
    lease_token_digest = rules.DigestField(null=True, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    report_token_digest = rules.DigestField(null=True, blank=True)
    worker = models.CharField(max_length=200, default="", blank=True)
    attempt = models.PositiveIntegerField(default=0)
    takeovers = models.PositiveIntegerField(default=0)
    not_before = models.DateTimeField(null=True, blank=True)
    report = models.JSONField(null=True, blank=True)
    result_digest = rules.DigestField(null=True, blank=True)
    error = models.TextField(default="", blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    # Virtual: a join, no column. The database holds the constraint (migration 0002).
    base_model = models.ForeignObject(
        BaseModel,
        models.PROTECT,
        from_fields=["base_fingerprint"],
        to_fields=["fingerprint"],
        related_name="runs",
        editable=False,
    )

    objects = RunQuerySet.as_manager()

    class Meta:
        constraints = [
            *rules.digests(
                "run", "adapter_digest", "plan_digest", "lease_token_digest", "report_token_digest", "result_digest"
            ),
            rules.fingerprint("run"),
            rules.one_of("run", "status", RunStatus),
            CheckConstraint(
                condition=Q(_LEASED, lease_token_digest__isnull=False, lease_expires_at__isnull=False)
                | Q(~_LEASED, lease_token_digest__isnull=True, lease_expires_at__isnull=True),
                name="run_leased_means_token_and_expiry",
            ),
            rules.implies(
                "run_judged_has_report",
                _JUDGED,
                Q(report__isnull=False, result_digest__isnull=False, finished_at__isnull=False),
            ),
            # Target of version_evidence_fk.
            UniqueConstraint(
                fields=["id", "adapter_digest", "base_fingerprint", "plan_digest", "passed"], name="run_evidence_key"
            ),
            UniqueConstraint(
                fields=["adapter_digest", "base_fingerprint", "plan_digest"],
                condition=Q(status__in=["failed", "leased", "passed", "queued"]) & Q(repeats=None),
                name="run_is_one_an_evidence_key",
            ),
            UniqueConstraint(
                fields=["repeats"],
                condition=Q(status__in=["leased", "queued"]),
                name="run_is_repeated_once_at_a_time",
            ),
        ]
        indexes = [
            Index(F("priority"), F("created_at"), F("id"), condition=Q(status="queued"), name="run_queue"),
            Index(fields=["lease_expires_at"], condition=_LEASED, name="run_leases"),
            Index(fields=["base_fingerprint"], name="run_by_base"),
        ]


class Evidence(models.TextChoices):
    RAN = "ran"
    RESCORED = "rescored"
    ATTESTED = "attested"
    CLAIMED = "claimed"


class Score(models.Model):
    """One number of a run: a component on a benchmark. `low`..`high` is its 95 % interval. `answers` is what was answered row by
    row (`hub.spec.answers`); the bytes are in the store before the row is written, and stay as long as it does."""

    Evidence = Evidence
    Direction = Direction

    run = models.ForeignKey(Run, models.CASCADE, related_name="scores")
    component_folder = models.CharField(max_length=1024, default="", blank=True)
    benchmark = models.ForeignKey(Benchmark, models.PROTECT, related_name="scores")
    metric = models.CharField(max_length=64)
    direction = models.CharField(max_length=8, choices=Direction.choices, default=Direction.UP)
    value = models.FloatField()
    low = models.FloatField(null=True, blank=True)
    high = models.FloatField(null=True, blank=True)
    n = models.PositiveIntegerField()
    baselines = models.JSONField(default=dict)
    gain = models.JSONField(null=True, blank=True)
    gates = models.JSONField(default=list)
    claimed = models.FloatField(null=True, blank=True)
    runtime = models.CharField(max_length=64, default="reference")
    evidence = models.CharField(max_length=16, choices=Evidence.choices, default=Evidence.RAN)
    answers = models.ForeignKey(Blob, models.PROTECT, null=True, blank=True, related_name="scores")

    class Meta:
        constraints = [
            rules.one_of("score", "direction", Direction),
            rules.one_of("score", "evidence", Evidence),
            # PostgreSQL sorts NaN above everything, so this refuses NaN and both infinities.
            CheckConstraint(condition=Q(value__gt=-1e308, value__lt=1e308), name="score_value_is_finite"),
            CheckConstraint(condition=Q(low__lte=F("high")), name="score_interval_is_ordered"),
            UniqueConstraint(
                fields=["run", "component_folder", "benchmark", "runtime"], name="score_is_one_a_benchmark"
            ),
        ]
        indexes = [Index(fields=["benchmark", "value"], name="score_leaderboard")]
