"""How a base model is quantised, the shapes that its weights had, and whose word its cast roots are."""

from django.db import migrations, models

# Nobody could send cast roots until now: what stands there was written by hand, by an operator.
BY_HAND = "UPDATE registry_basemodel SET cast_roots_by = 'operator' WHERE cast_roots <> '{}'::jsonb"


class Migration(migrations.Migration):
    dependencies = [("registry", "0008_fits")]

    operations = [
        migrations.AddField(
            "basemodel",
            "cast_roots_by",
            models.CharField(
                choices=[("nobody", "Nobody"), ("worker", "Worker"), ("operator", "Operator")],
                default="nobody",
                max_length=16,
            ),
        ),
        migrations.AddField("basemodel", "quantisation", models.CharField(blank=True, default="", max_length=100)),
        migrations.AddField("basemodel", "logical", models.JSONField(blank=True, null=True)),
        migrations.RunSQL(BY_HAND, migrations.RunSQL.noop),
        # The update above leaves checks to be made at the end of the transaction; no table is altered while they wait.
        migrations.RunSQL("SET CONSTRAINTS ALL IMMEDIATE", migrations.RunSQL.noop),
        migrations.AddConstraint(
            "basemodel",
            models.CheckConstraint(
                condition=models.Q(("cast_roots_by__in", ["nobody", "operator", "worker"])),
                name="basemodel_cast_roots_by_is_known",
            ),
        ),
        migrations.AddConstraint(
            "basemodel",
            models.CheckConstraint(
                condition=models.Q(("cast_roots", {})) | ~models.Q(("cast_roots_by", "nobody")),
                name="basemodel_cast_roots_have_a_witness",
            ),
        ),
        migrations.AddConstraint(
            "basemodel",
            models.CheckConstraint(
                condition=models.Q(("logical__isnull", True)) | ~models.Q(("quantisation", "")),
                name="basemodel_only_packed_shapes_are_told",
            ),
        ),
    ]
