"""What happened (append-only), and what is to be told to others."""

from typing import Self

from django.db import models
from django.db.models import F, Index, Q
from django.utils import timezone

from registry.models import rules


class Event(models.Model):
    """A line of the audit log. Actor and subject are texts: they outlive whom and what they name."""

    at = models.DateTimeField(default=timezone.now)
    actor = models.CharField(max_length=200, default="", blank=True)
    kind = models.CharField(max_length=64)
    subject = models.CharField(max_length=300, default="", blank=True)
    data = models.JSONField(default=dict, blank=True)

    class Meta:
        indexes = [
            Index(F("subject"), F("id").desc(), name="event_by_subject"),
            Index(F("kind"), F("id").desc(), name="event_by_kind"),
        ]


class Queue(models.TextChoices):
    REGISTRY = "registry"
    RUNS = "runs"


class OutboxQuerySet(models.QuerySet["Outbox"]):
    """Questions about messages to the broker."""

    def unsent(self) -> Self:
        """Return those no broker has taken, oldest first."""
        return self.filter(sent_at=None).order_by("pk")


class Outbox(models.Model):
    """A message to the broker, written in the transaction of the change it tells of."""

    Queue = Queue

    queue = models.CharField(max_length=16, choices=Queue.choices)
    kind = models.CharField(max_length=64)
    payload = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now)
    sent_at = models.DateTimeField(null=True, blank=True)
    sends = models.PositiveIntegerField(default=0)

    objects = OutboxQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "outbox"
        constraints = [rules.one_of("outbox", "queue", Queue)]
        indexes = [Index(fields=["id"], condition=Q(sent_at=None), name="outbox_unsent")]
