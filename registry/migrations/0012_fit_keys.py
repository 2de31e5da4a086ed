"""Rows of fits are looked at once a statement: two foreign keys took a third of the time of a hundred thousand of them."""

import django.db.models.deletion
from django.db import migrations, models

REFUSE_NOTHING = """
    CREATE FUNCTION registry_refuse_fit_of_nothing() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT FROM made WHERE NOT EXISTS (SELECT FROM registry_need WHERE id = made.need_id))
            OR EXISTS (SELECT FROM made WHERE NOT EXISTS (SELECT FROM registry_offer WHERE id = made.offer_id))
        THEN
            RAISE EXCEPTION USING
                ERRCODE = 'integrity_constraint_violation',
                MESSAGE = 'a fit is of a need and an offer that there are',
                TABLE = TG_TABLE_NAME,
                CONSTRAINT = TG_NAME;
        END IF;
        RETURN NULL;
    END $$
"""


def trigger(name: str, table: str, when: str, function: str) -> migrations.RunSQL:
    return migrations.RunSQL(
        sql=f"CREATE TRIGGER {name} {when} EXECUTE FUNCTION {function}",
        reverse_sql=f"DROP TRIGGER {name} ON {table}",
    )


def refusal(name: str, table: str, event: str, message: str) -> migrations.RunSQL:
    return trigger(name, table, f"BEFORE {event} ON {table} FOR EACH ROW", f"registry_refuse('{message}')")


class Migration(migrations.Migration):
    dependencies = [("registry", "0011_rewritten")]

    operations = [
        migrations.AlterField(
            "fit",
            "need",
            models.ForeignKey(
                "registry.need",
                django.db.models.deletion.PROTECT,
                related_name="fits",
                db_index=False,
                db_constraint=False,
            ),
        ),
        migrations.AlterField(
            "fit",
            "offer",
            models.ForeignKey(
                "registry.offer", django.db.models.deletion.PROTECT, related_name="fits", db_constraint=False
            ),
        ),
        migrations.RunSQL(REFUSE_NOTHING, "DROP FUNCTION registry_refuse_fit_of_nothing()"),
        trigger(
            "fit_is_of_what_there_is",
            "registry_fit",
            "AFTER INSERT ON registry_fit REFERENCING NEW TABLE AS made FOR EACH STATEMENT",
            "registry_refuse_fit_of_nothing()",
        ),
        refusal("fit_is_kept", "registry_fit", "UPDATE", "a fit never changes"),
        refusal("need_is_never_deleted", "registry_need", "DELETE", "fits stand on it"),
        refusal("offer_is_never_deleted", "registry_offer", "DELETE", "fits stand on it"),
    ]
