"""What an adapter answered row by row: a blob of the store, where it was a column.

Whoever migrates a database that holds answers must reach the store. Stopped anywhere, nothing has changed but that bytes lie there which nobody names.
"""

from typing import Any

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from hub.spec import answers
from registry.storage import open_store

COLUMNS = (
    *("run_id", "component_folder", "benchmark_id", "metric", "direction", "value", "low", "high", "n"),
    *("baselines", "gain", "gates", "runtime", "evidence"),
)


def kept(*columns: str) -> str:
    """Refuse that any of these columns, once set, takes another value."""
    changed = " OR ".join(f"(OLD.{c} IS NOT NULL AND NEW.{c} IS DISTINCT FROM OLD.{c})" for c in columns)
    told = f"once set, these never change: {', '.join(columns)}"
    return (
        "CREATE TRIGGER score_is_kept BEFORE UPDATE ON registry_score FOR EACH ROW"
        f" WHEN ({changed}) EXECUTE FUNCTION registry_refuse('{told}')"
    )


FREED = "DROP TRIGGER score_is_kept ON registry_score"
# A table whose rows wait for the end of the transaction to be looked at cannot be altered.
LOOKED_AT = migrations.RunSQL("SET CONSTRAINTS ALL IMMEDIATE", "SET CONSTRAINTS ALL IMMEDIATE")


def into_the_store(apps: Any, schema_editor: Any) -> None:
    score, blob = apps.get_model("registry", "Score"), apps.get_model("registry", "Blob")
    for row in score.objects.exclude(predictions=None).only("predictions").iterator(chunk_size=100):
        given = row.predictions["labels"] if isinstance(row.predictions, dict) else row.predictions
        stored = open_store(settings.HUB_STORAGE).put(answers.to_lines(given))
        blob.objects.get_or_create(sha256=stored.sha256, defaults={"size": stored.size})
        score.objects.filter(pk=row.pk).update(answers_id=stored.sha256)


def out_of_the_store(apps: Any, schema_editor: Any) -> None:
    score = apps.get_model("registry", "Score")
    for row in score.objects.exclude(answers=None).only("answers").iterator(chunk_size=100):
        labels = answers.from_lines(open_store(settings.HUB_STORAGE).read(row.answers_id))
        score.objects.filter(pk=row.pk).update(predictions={"labels": labels})


class Migration(migrations.Migration):
    dependencies = [("registry", "0013_revalidation")]

    operations = [
        migrations.RunSQL(FREED, kept(*COLUMNS, "predictions")),
        migrations.AddField(
            "score",
            "answers",
            models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="scores",
                to="registry.blob",
            ),
        ),
        migrations.RunPython(into_the_store, out_of_the_store),
        LOOKED_AT,
        migrations.RemoveField("score", "predictions"),
        migrations.RunSQL(kept(*COLUMNS, "answers_id"), FREED),
    ]
