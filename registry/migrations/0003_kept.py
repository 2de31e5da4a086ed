"""Triggers: what is set once stays, what is public is not deleted, what happened is not rewritten."""

from django.db import migrations

# One function refuses for all; the trigger's WHEN decides, its name is reported like the name of a constraint.
REFUSE = """
    CREATE FUNCTION registry_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION USING
            ERRCODE = 'integrity_constraint_violation',
            MESSAGE = TG_ARGV[0],
            TABLE = TG_TABLE_NAME,
            CONSTRAINT = TG_NAME;
    END $$
"""

# The files of a manifest that a commit, a run or a version stands on are neither more nor fewer than they were.
REFUSE_IN_USE = """
    CREATE FUNCTION registry_refuse_in_use() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        manifest varchar := CASE TG_OP WHEN 'DELETE' THEN OLD.manifest_id ELSE NEW.manifest_id END;
    BEGIN
        IF EXISTS (SELECT FROM registry_version WHERE digest = manifest)
            OR EXISTS (SELECT FROM registry_commit WHERE manifest_id = manifest)
            OR EXISTS (SELECT FROM registry_run WHERE manifest_id = manifest)
        THEN
            RAISE EXCEPTION USING
                ERRCODE = 'integrity_constraint_violation',
                MESSAGE = 'the files of a manifest in use never change',
                TABLE = TG_TABLE_NAME,
                CONSTRAINT = TG_NAME;
        END IF;
        RETURN NULL;
    END $$
"""


def function(name: str, sql: str) -> migrations.RunSQL:
    return migrations.RunSQL(sql=sql, reverse_sql=f"DROP FUNCTION {name}()")


def refusal(name: str, table: str, event: str, message: str, when: str = "") -> migrations.RunSQL:
    """Refuse an event on rows (where WHEN holds) or, for TRUNCATE, on the table."""
    each = "STATEMENT" if event == "TRUNCATE" else "ROW"
    condition = f"WHEN ({when})" if when else ""
    return migrations.RunSQL(
        sql=f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH {each} {condition}"
        f" EXECUTE FUNCTION registry_refuse('{message}')",
        reverse_sql=f"DROP TRIGGER {name} ON {table}",
    )


def kept(name: str, table: str, *columns: str) -> migrations.RunSQL:
    """Refuse that any of these columns, once set, takes another value."""
    changed = [f"(OLD.{c} IS NOT NULL AND NEW.{c} IS DISTINCT FROM OLD.{c})" for c in columns]
    return refusal(name, table, "UPDATE", f"once set, these never change: {', '.join(columns)}", " OR ".join(changed))


def never_truncated(subject: str) -> migrations.RunSQL:
    return refusal(f"{subject}_is_never_truncated", f"registry_{subject}", "TRUNCATE", "this table is never emptied")


def in_use(name: str, event: str) -> migrations.RunSQL:
    # AFTER: an INSERT ... ON CONFLICT DO NOTHING that inserts nothing must pass.
    return migrations.RunSQL(
        sql=f"CREATE TRIGGER {name} AFTER {event} ON registry_manifestfile FOR EACH ROW"
        " EXECUTE FUNCTION registry_refuse_in_use()",
        reverse_sql=f"DROP TRIGGER {name} ON registry_manifestfile",
    )


PUBLIC = "OLD.status IN ('published', 'hosted') OR OLD.published_at IS NOT NULL"

OPERATIONS = [
    function("registry_refuse", REFUSE),
    function("registry_refuse_in_use", REFUSE_IN_USE),
    # Content
    kept("blob_keys_are_kept", "registry_blob", "sha256", "size", "git_oid"),
    kept("manifest_keys_are_kept", "registry_manifest", "digest", "adapter_digest", "size", "created_at"),
    kept("manifestfile_is_kept", "registry_manifestfile", "manifest_id", "path", "blob_id", "size"),
    in_use("manifestfile_none_is_added", "INSERT"),
    in_use("manifestfile_none_is_removed", "DELETE"),
    # History
    kept(
        "commit_is_kept",
        "registry_commit",
        *("id", "adapter_id", "oid", "manifest_id", "author_id", "message", "created_at"),
    ),
    refusal(
        "commit_parent_is_kept",
        "registry_commit",
        "UPDATE",
        "a commit keeps its parent, or its being the first",
        "NEW.parent_id IS DISTINCT FROM OLD.parent_id",
    ),
    # Evidence
    kept(
        "run_keys_are_kept",
        "registry_run",
        *("id", "adapter_digest", "base_fingerprint", "plan_digest", "plan", "manifest_id", "created_at"),
    ),
    refusal(
        "run_lease_no_only_grows",
        "registry_run",
        "UPDATE",
        "the number of a lease only grows: it tells an old worker from the present one",
        "NEW.lease_no < OLD.lease_no",
    ),
    refusal(
        "run_passed_result_is_kept",
        "registry_run",
        "UPDATE",
        "the report of a passed run never changes",
        "OLD.status = 'passed' AND (NEW.report IS DISTINCT FROM OLD.report"
        " OR NEW.result_digest IS DISTINCT FROM OLD.result_digest)",
    ),
    kept(
        "score_is_kept",
        "registry_score",
        *("run_id", "component_folder", "benchmark_id", "metric", "direction", "value", "low", "high", "n"),
        *("baselines", "gain", "gates", "runtime", "evidence", "predictions"),
    ),
    kept("basemodel_fingerprint_is_kept", "registry_basemodel", "fingerprint"),
    refusal(
        "basemodel_tensors_are_kept",
        "registry_basemodel",
        "UPDATE",
        "the tensor table of a base model never changes: its fingerprint is their hash",
        "OLD.tensors <> '[]'::jsonb AND NEW.tensors IS DISTINCT FROM OLD.tensors",
    ),
    kept(
        "benchmark_is_kept",
        "registry_benchmark",
        *("digest", "name", "definition", "task", "metric", "direction", "rows", "files"),
    ),
    # Publication
    kept(
        "version_keys_are_kept",
        "registry_version",
        *("id", "adapter_id", "number", "label", "commit_id", "digest", "adapter_digest"),
    ),
    # A hosted version gets a later hour when it is published; nothing that was public becomes as if it never was.
    refusal(
        "version_hour_is_kept",
        "registry_version",
        "UPDATE",
        "the hour of publication never changes",
        "OLD.published_at IS NOT NULL AND NEW.published_at IS DISTINCT FROM OLD.published_at"
        " AND (OLD.status = 'published' OR NEW.published_at IS NULL)",
    ),
    refusal(
        "version_published_stays",
        "registry_version",
        "UPDATE",
        "a published version stays published, on its base: yank it or quarantine it",
        "OLD.status = 'published' AND (NEW.status <> 'published'"
        " OR NEW.base_fingerprint IS DISTINCT FROM OLD.base_fingerprint)",
    ),
    refusal(
        "version_public_is_never_deleted",
        "registry_version",
        "DELETE",
        "what was public is never deleted: yank it or quarantine it",
        PUBLIC,
    ),
    # Authority
    kept("token_keys_are_kept", "registry_token", "user_id", "digest", "scope"),
    # Memory
    refusal("event_is_append_only", "registry_event", "UPDATE OR DELETE", "the event log is append-only"),
    *[
        never_truncated(subject)
        for subject in ("event", "tombstone", "version", "commit", "run", "manifest", "manifestfile", "blob")
    ],
]


class Migration(migrations.Migration):
    dependencies = [("registry", "0002_evidence")]
    operations = OPERATIONS
