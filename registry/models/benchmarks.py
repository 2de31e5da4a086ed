"""A benchmark measures, a policy decides."""

from typing import Self

from django.db import models
from django.db.models import Index
from django.utils import timezone

from registry.models import rules
from registry.models.adapters import Visibility
from registry.models.users import Namespace


class Direction(models.TextChoices):
    UP = "up"
    DOWN = "down"


class BenchmarkQuerySet(models.QuerySet["Benchmark"]):
    """Questions about benchmarks."""

    def newest_first(self) -> Self:
        """Order so that the benchmark a name means comes first."""
        return self.order_by("-created_at", "digest")


class Benchmark(models.Model):
    """A data set with its metric, identified by the digest of its definition and data.

    The newest of a name is what the name means.
    """

    Direction = Direction
    Visibility = Visibility

    digest = rules.DigestField(primary_key=True)
    name = models.CharField(max_length=200)
    definition = models.JSONField()
    task = models.CharField(max_length=64)
    metric = models.CharField(max_length=64)
    direction = models.CharField(max_length=8, choices=Direction.choices, default=Direction.UP)
    visibility = models.CharField(max_length=16, choices=Visibility.choices, default=Visibility.PUBLIC)
    rows = models.PositiveIntegerField(default=0)
    owner = models.ForeignKey(Namespace, models.SET_NULL, null=True, blank=True, related_name="benchmarks")
    created_at = models.DateTimeField(default=timezone.now)
    files = models.JSONField(default=dict)

    objects = BenchmarkQuerySet.as_manager()

    class Meta:
        constraints = [
            *rules.digests("benchmark", "digest"),
            rules.one_of("benchmark", "direction", Direction),
            rules.one_of("benchmark", "visibility", Visibility),
        ]
        indexes = [
            Index(fields=["name", "-created_at"], name="benchmark_newest_by_name"),
            Index(fields=["task"], name="benchmark_by_task"),
        ]

    def __str__(self) -> str:
        return self.name


class Policy(models.Model):
    """The required benchmarks and gates of a namespace: `{required, gates}`."""

    namespace = models.OneToOneField(Namespace, models.CASCADE, related_name="policy")
    definition = models.JSONField(default=dict)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name_plural = "policies"
