"""What adapters need and base models offer, relations of base models, and what a weights file says."""

import django.contrib.postgres.indexes
import django.utils.timezone
from django.db import migrations, models

from registry.models.rules import DigestField

HEX64 = "^[0-9a-f]{64}$"
KEY = ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"))

# The version that is shown is the one `latest` names, else the newest that is served: services/adapters.refresh.
SHOWN = """
    UPDATE registry_adapter SET digest = shown.digest, adapter_digest = shown.adapter_digest FROM (
        SELECT DISTINCT ON (v.adapter_id) v.adapter_id, v.digest, v.adapter_digest FROM registry_version v
        WHERE v.status IN ('published', 'hosted') AND v.quarantined_at IS NULL
        ORDER BY v.adapter_id, (v.yanked_at IS NULL AND (v.status = 'published' OR NOT EXISTS (
            SELECT FROM registry_version p WHERE p.adapter_id = v.adapter_id AND p.status = 'published'
        ))) DESC, v.number DESC
    ) shown WHERE shown.adapter_id = registry_adapter.id
"""


def sha256(name: str, column: str = "digest") -> models.CheckConstraint:
    return models.CheckConstraint(condition=models.Q((f"{column}__regex", HEX64)), name=name)


def kept(name: str, table: str, *columns: str) -> migrations.RunSQL:
    changed = " OR ".join(f"NEW.{column} IS DISTINCT FROM OLD.{column}" for column in columns)
    return migrations.RunSQL(
        sql=f"CREATE TRIGGER {name} BEFORE UPDATE ON {table} FOR EACH ROW WHEN ({changed})"
        f" EXECUTE FUNCTION registry_refuse('these never change: {', '.join(columns)}')",
        reverse_sql=f"DROP TRIGGER {name} ON {table}",
    )


class Migration(migrations.Migration):
    dependencies = [("registry", "0007_originals")]

    operations = [
        migrations.CreateModel(
            name="Offer",
            fields=[
                KEY,
                ("digest", DigestField(max_length=64, unique=True)),
                ("modules", models.JSONField()),
                ("whole", models.JSONField()),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("compared_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "constraints": [sha256("offer_digest_is_sha256")],
                "indexes": [
                    django.contrib.postgres.indexes.GinIndex(
                        fields=["modules"], name="offer_by_modules", opclasses=["jsonb_path_ops"]
                    ),
                    models.Index(
                        condition=models.Q(("compared_at", None)), fields=["id"], name="offer_to_compare"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Need",
            fields=[
                KEY,
                ("digest", DigestField(max_length=64, unique=True)),
                ("modules", models.JSONField()),
                ("whole", models.JSONField()),
                ("probe", models.TextField(blank=True, default="")),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("compared_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "constraints": [sha256("need_digest_is_sha256")],
                "indexes": [
                    models.Index(fields=["probe"], name="need_by_probe"),
                    models.Index(condition=models.Q(("compared_at", None)), fields=["id"], name="need_to_compare"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Fit",
            fields=[
                KEY,
                ("need", models.ForeignKey("registry.need", models.CASCADE, related_name="fits", db_index=False)),
                ("offer", models.ForeignKey("registry.offer", models.CASCADE, related_name="fits")),
            ],
            options={"constraints": [models.UniqueConstraint(fields=("need", "offer"), name="fit_is_one_a_pair")]},
        ),
        migrations.CreateModel(
            name="Content",
            fields=[
                (
                    "blob",
                    models.OneToOneField(
                        "registry.blob", models.CASCADE, primary_key=True, related_name="content", serialize=False
                    ),
                ),
                ("digest", DigestField(max_length=64)),
            ],
            options={
                "constraints": [sha256("content_digest_is_sha256")],
                "indexes": [models.Index(fields=["digest"], name="content_by_digest")],
            },
        ),
        migrations.CreateModel(
            name="BaseRelation",
            fields=[
                KEY,
                (
                    "kind",
                    models.CharField(
                        choices=[("same_values", "Same Values"), ("derived", "Derived"), ("quantised", "Quantised")],
                        max_length=16,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[("claimed", "Claimed"), ("observed", "Observed")], default="claimed", max_length=16
                    ),
                ),
                ("claimed_by", models.CharField(max_length=200)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("base", models.ForeignKey("registry.basemodel", models.CASCADE, related_name="parents")),
                ("parent", models.ForeignKey("registry.basemodel", models.CASCADE, related_name="children")),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["derived", "quantised", "same_values"])),
                        name="baserelation_kind_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["claimed", "observed"])), name="baserelation_state_is_known"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("base", models.F("parent")), _negated=True),
                        name="baserelation_is_between_two",
                    ),
                    models.UniqueConstraint(fields=("base", "parent", "kind"), name="baserelation_is_one_a_kind"),
                ],
            },
        ),
        migrations.AddField(
            "basemodel",
            "offer",
            models.ForeignKey("registry.offer", models.PROTECT, blank=True, null=True, related_name="base_models"),
        ),
        migrations.AddField(
            "component",
            "need",
            models.ForeignKey("registry.need", models.PROTECT, blank=True, null=True, related_name="components"),
        ),
        migrations.AddField("adapter", "digest", DigestField(blank=True, max_length=64, null=True)),
        migrations.AddField("adapter", "adapter_digest", DigestField(blank=True, max_length=64, null=True)),
        migrations.RunSQL(SHOWN, migrations.RunSQL.noop),
        # The update above leaves checks to be made at the end of the transaction; no column is added while they wait.
        migrations.RunSQL("SET CONSTRAINTS ALL IMMEDIATE", migrations.RunSQL.noop),
        migrations.AddConstraint("adapter", sha256("adapter_digest_is_sha256")),
        migrations.AddConstraint("adapter", sha256("adapter_adapter_digest_is_sha256", "adapter_digest")),
        kept("need_keys_are_kept", "registry_need", "digest", "modules", "whole", "probe"),
        kept("offer_keys_are_kept", "registry_offer", "digest", "modules", "whole"),
        kept("content_is_kept", "registry_content", "digest"),
    ]
