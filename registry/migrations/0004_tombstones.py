"""Triggers: a deleted name leaves a tombstone, and only its owner makes it again."""

from django.db import migrations

# Deleting or renaming without a word of farewell is refused: write the tombstone (or, for a move, the redirect) first.
NAMESPACE_LEAVES_TOMBSTONE = """
    CREATE FUNCTION registry_namespace_leaves_tombstone() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NOT EXISTS (
            SELECT FROM registry_tombstone
            WHERE kind = 'namespace' AND namespace_id = OLD.id AND namespace_skeleton = OLD.skeleton
        ) THEN
            RAISE EXCEPTION USING
                ERRCODE = 'integrity_constraint_violation',
                MESSAGE = format('namespace %s would be gone without a tombstone', OLD.name),
                TABLE = TG_TABLE_NAME,
                CONSTRAINT = TG_NAME;
        END IF;
        RETURN NULL;
    END $$
"""

ADAPTER_LEAVES_TOMBSTONE = """
    CREATE FUNCTION registry_adapter_leaves_tombstone() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (
            SELECT FROM registry_tombstone
            WHERE kind = 'adapter' AND namespace_id = OLD.namespace_id AND skeleton = OLD.skeleton
        ) THEN
            RETURN NULL;
        END IF;
        IF TG_OP = 'UPDATE' AND EXISTS (
            SELECT FROM registry_redirect
            WHERE adapter_id = OLD.id AND namespace_id = OLD.namespace_id AND skeleton = OLD.skeleton
        ) THEN
            RETURN NULL;
        END IF;
        RAISE EXCEPTION USING
            ERRCODE = 'integrity_constraint_violation',
            MESSAGE = format('adapter %s would be gone without a tombstone or a redirect', OLD.name),
            TABLE = TG_TABLE_NAME,
            CONSTRAINT = TG_NAME;
    END $$
"""

# Looked at when the transaction ends, because the owner's membership can only be written after the namespace.
NAMESPACE_IS_RECLAIMED = """
    CREATE FUNCTION registry_namespace_is_reclaimed() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        grave registry_tombstone;
    BEGIN
        SELECT * INTO grave FROM registry_tombstone
        WHERE kind = 'namespace' AND namespace_skeleton = NEW.skeleton
        ORDER BY id DESC LIMIT 1;
        IF FOUND AND grave.namespace_id <> NEW.id AND NOT EXISTS (
            SELECT FROM registry_membership
            WHERE namespace_id = NEW.id AND role = 'owner' AND user_id = grave.owner_id
        ) THEN
            RAISE EXCEPTION USING
                ERRCODE = 'integrity_constraint_violation',
                MESSAGE = format('namespace %s was deleted: only its owner can make it again', NEW.name),
                TABLE = TG_TABLE_NAME,
                CONSTRAINT = TG_NAME;
        END IF;
        RETURN NULL;
    END $$
"""

ADAPTER_IS_RECLAIMED = """
    CREATE FUNCTION registry_adapter_is_reclaimed() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        grave registry_tombstone;
    BEGIN
        SELECT tombstone.* INTO grave FROM registry_tombstone tombstone, registry_namespace namespace
        WHERE namespace.id = NEW.namespace_id AND tombstone.kind = 'adapter'
            AND tombstone.namespace_skeleton = namespace.skeleton AND tombstone.skeleton = NEW.skeleton
        ORDER BY tombstone.id DESC LIMIT 1;
        IF FOUND AND grave.namespace_id <> NEW.namespace_id AND NOT EXISTS (
            SELECT FROM registry_membership
            WHERE namespace_id = NEW.namespace_id AND role = 'owner' AND user_id = grave.owner_id
        ) THEN
            RAISE EXCEPTION USING
                ERRCODE = 'integrity_constraint_violation',
                MESSAGE = format('adapter %s was deleted: only its owner can make it again', NEW.name),
                TABLE = TG_TABLE_NAME,
                CONSTRAINT = TG_NAME;
        END IF;
        RETURN NULL;
    END $$
"""

NUMBERING_GOES_ON = """
    CREATE FUNCTION registry_numbering_goes_on() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (
            SELECT FROM registry_adapter adapter
            JOIN registry_namespace namespace ON namespace.id = adapter.namespace_id
            JOIN registry_tombstone tombstone ON tombstone.kind = 'adapter'
                AND tombstone.namespace_skeleton = namespace.skeleton AND tombstone.skeleton = adapter.skeleton
            WHERE adapter.id = NEW.adapter_id AND tombstone.last_number >= NEW.number
        ) THEN
            RAISE EXCEPTION USING
                ERRCODE = 'integrity_constraint_violation',
                MESSAGE = format('number %s belonged to the deleted adapter of this name', NEW.number),
                TABLE = TG_TABLE_NAME,
                CONSTRAINT = TG_NAME;
        END IF;
        RETURN NULL;
    END $$
"""


def function(name: str, sql: str) -> migrations.RunSQL:
    return migrations.RunSQL(sql=sql, reverse_sql=f"DROP FUNCTION {name}()")


def trigger(name: str, table: str, event: str, called: str, when: str = "", kind: str = "TRIGGER", defer: str = "") -> migrations.RunSQL:
    condition = f"WHEN ({when})" if when else ""
    return migrations.RunSQL(
        sql=f"CREATE {kind} {name} AFTER {event} ON {table} {defer} FOR EACH ROW {condition} EXECUTE FUNCTION {called}()",
        reverse_sql=f"DROP TRIGGER {name} ON {table}",
    )


NAMESPACE_MOVED = "OLD.skeleton IS DISTINCT FROM NEW.skeleton"
ADAPTER_MOVED = "(OLD.namespace_id, OLD.skeleton) IS DISTINCT FROM (NEW.namespace_id, NEW.skeleton)"

OPERATIONS = [
    function("registry_namespace_leaves_tombstone", NAMESPACE_LEAVES_TOMBSTONE),
    function("registry_adapter_leaves_tombstone", ADAPTER_LEAVES_TOMBSTONE),
    function("registry_namespace_is_reclaimed", NAMESPACE_IS_RECLAIMED),
    function("registry_adapter_is_reclaimed", ADAPTER_IS_RECLAIMED),
    function("registry_numbering_goes_on", NUMBERING_GOES_ON),
    trigger("namespace_deleted_leaves_tombstone", "registry_namespace", "DELETE", "registry_namespace_leaves_tombstone"),
    trigger("namespace_renamed_leaves_tombstone", "registry_namespace", "UPDATE", "registry_namespace_leaves_tombstone", NAMESPACE_MOVED),
    trigger("adapter_deleted_leaves_tombstone", "registry_adapter", "DELETE", "registry_adapter_leaves_tombstone"),
    trigger("adapter_moved_leaves_tombstone", "registry_adapter", "UPDATE", "registry_adapter_leaves_tombstone", ADAPTER_MOVED),
    trigger(
        "namespace_is_reclaimed_by_its_owner",
        "registry_namespace",
        "INSERT OR UPDATE OF name",
        "registry_namespace_is_reclaimed",
        kind="CONSTRAINT TRIGGER",
        defer="DEFERRABLE INITIALLY DEFERRED",
    ),
    trigger("adapter_is_reclaimed_by_its_owner", "registry_adapter", "INSERT OR UPDATE OF name, namespace_id", "registry_adapter_is_reclaimed"),
    trigger("version_numbering_goes_on", "registry_version", "INSERT", "registry_numbering_goes_on"),
    migrations.RunSQL(
        sql="CREATE TRIGGER tombstone_is_kept BEFORE UPDATE ON registry_tombstone FOR EACH ROW"
        # An owner who deletes the account is forgotten; then nobody makes the name again.
        " WHEN ((OLD.kind, OLD.namespace_id, OLD.namespace_name, OLD.name, OLD.last_number, OLD.created_at)"
        " IS DISTINCT FROM (NEW.kind, NEW.namespace_id, NEW.namespace_name, NEW.name, NEW.last_number, NEW.created_at)"
        " OR (NEW.owner_id IS NOT NULL AND NEW.owner_id IS DISTINCT FROM OLD.owner_id))"
        " EXECUTE FUNCTION registry_refuse('a tombstone never changes')",
        reverse_sql="DROP TRIGGER tombstone_is_kept ON registry_tombstone",
    ),
    migrations.RunSQL(
        sql="CREATE TRIGGER tombstone_is_never_deleted BEFORE DELETE ON registry_tombstone FOR EACH ROW"
        " EXECUTE FUNCTION registry_refuse('a tombstone never goes away')",
        reverse_sql="DROP TRIGGER tombstone_is_never_deleted ON registry_tombstone",
    ),
]


class Migration(migrations.Migration):
    dependencies = [("registry", "0003_kept")]
    operations = OPERATIONS
