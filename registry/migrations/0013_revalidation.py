"""Runs that ask a question again, behind all others: what passed once, under today's environment."""

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import F, Index, Q, UniqueConstraint

KEPT = "OLD.repeats_id IS DISTINCT FROM NEW.repeats_id"
LIVE = Q(status__in=["failed", "leased", "passed", "queued"])


class Migration(migrations.Migration):
    dependencies = [("registry", "0012_fit_keys")]

    operations = [
        migrations.AddField("run", "priority", models.PositiveSmallIntegerField(default=0)),
        migrations.AddField(
            "run",
            "repeats",
            models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="repetitions",
                to="registry.run",
            ),
        ),
        migrations.RemoveConstraint("run", "run_is_one_an_evidence_key"),
        migrations.AddConstraint(
            "run",
            UniqueConstraint(
                fields=["adapter_digest", "base_fingerprint", "plan_digest"],
                condition=LIVE & Q(repeats=None),
                name="run_is_one_an_evidence_key",
            ),
        ),
        migrations.AddConstraint(
            "run",
            UniqueConstraint(
                fields=["repeats"],
                condition=Q(status__in=["leased", "queued"]),
                name="run_is_repeated_once_at_a_time",
            ),
        ),
        migrations.RemoveIndex("run", "run_queue"),
        migrations.AddIndex(
            "run", Index(F("priority"), F("created_at"), F("id"), condition=Q(status="queued"), name="run_queue")
        ),
        migrations.RunSQL(
            "CREATE TRIGGER run_repeats_is_kept BEFORE UPDATE ON registry_run FOR EACH ROW"
            f" WHEN ({KEPT}) EXECUTE FUNCTION registry_refuse('what a run repeats never changes')",
            "DROP TRIGGER run_repeats_is_kept ON registry_run",
        ),
    ]
