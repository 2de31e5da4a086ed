"""What was sent and is held converted: kept as evidence."""

import django.utils.timezone
from django.db import migrations, models

COLUMNS = ("manifest_id", "path", "blob_id", "converted", "created_at")
CHANGED = " OR ".join(f"NEW.{column} IS DISTINCT FROM OLD.{column}" for column in COLUMNS)


def refusal(name: str, event: str, message: str, when: str = "") -> migrations.RunSQL:
    each = "STATEMENT" if event == "TRUNCATE" else "ROW"
    condition = f"WHEN ({when})" if when else ""
    return migrations.RunSQL(
        sql=f"CREATE TRIGGER {name} BEFORE {event} ON registry_original FOR EACH {each} {condition}"
        f" EXECUTE FUNCTION registry_refuse('{message}')",
        reverse_sql=f"DROP TRIGGER {name} ON registry_original",
    )


class Migration(migrations.Migration):
    dependencies = [("registry", "0006_sign_ins")]

    operations = [
        migrations.CreateModel(
            name="Original",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("path", models.CharField(max_length=1024)),
                ("converted", models.CharField(max_length=1024)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("blob", models.ForeignKey("registry.blob", models.PROTECT, related_name="originals")),
                ("manifest", models.ForeignKey("registry.manifest", models.PROTECT, related_name="originals")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("manifest", "path", "blob"), name="original_blob_is_one_a_path")
                ],
            },
        ),
        refusal("original_is_kept", "UPDATE", "what was sent never changes", CHANGED),
        refusal("original_is_never_deleted", "DELETE", "what was sent is kept as evidence"),
        refusal("original_is_never_truncated", "TRUNCATE", "this table is never emptied"),
    ]
