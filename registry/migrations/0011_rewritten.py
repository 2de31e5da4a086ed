"""What of a configuration that was sent is served otherwise, in words."""

from django.db import migrations, models

KEPT = ("manifest_id", "path", "blob_id", "converted", "created_at")


def trigger(columns: tuple[str, ...]) -> str:
    changed = " OR ".join(f"NEW.{column} IS DISTINCT FROM OLD.{column}" for column in columns)
    return (
        "DROP TRIGGER original_is_kept ON registry_original;"
        "CREATE TRIGGER original_is_kept BEFORE UPDATE ON registry_original FOR EACH ROW"
        f" WHEN ({changed}) EXECUTE FUNCTION registry_refuse('what was sent never changes')"
    )


class Migration(migrations.Migration):
    dependencies = [("registry", "0010_located")]

    operations = [
        migrations.AddField("original", "changes", models.JSONField(blank=True, default=list)),
        migrations.RunSQL(trigger((*KEPT, "changes")), trigger(KEPT)),
    ]
