"""Foreign keys of more than one column, which Django cannot write: evidence, content and history belong together.

A foreign key with a NULL in it is not looked at; where that would matter, a CHECK of 0001 asks for every part by name.
"""

from typing import NamedTuple

from django.db import migrations


class ForeignKey(NamedTuple):
    name: str
    table: str
    columns: str
    target: str
    target_columns: str
    more: str = ""
    when: str = "IMMEDIATE"

    def create(self) -> str:
        return (
            f"ALTER TABLE {self.table} ADD CONSTRAINT {self.name} FOREIGN KEY ({self.columns})"
            f" REFERENCES {self.target} ({self.target_columns}) {self.more} DEFERRABLE INITIALLY {self.when}"
        )

    def drop(self) -> str:
        return f"ALTER TABLE {self.table} DROP CONSTRAINT {self.name}"


FOREIGN_KEYS = [
    # What a version holds is a manifest we have, with the adapter digest of that manifest.
    ForeignKey(
        "version_manifest_fk", "registry_version", "digest, adapter_digest", "registry_manifest", "digest, adapter_digest"
    ),
    # The evidence: this run, for exactly this adapter, base and plan. run_passed follows the run, and where it
    # would follow it into "no", version_published_has_evidence stops the change of the run.
    ForeignKey(
        "version_evidence_fk",
        "registry_version",
        "run_id, adapter_digest, base_fingerprint, plan_digest, run_passed",
        "registry_run",
        "id, adapter_digest, base_fingerprint, plan_digest, passed",
        "ON UPDATE CASCADE",
    ),
    ForeignKey(
        "version_base_is_observed_fk",
        "registry_version",
        "base_fingerprint, base_observed",
        "registry_basemodel",
        "fingerprint, observed",
        "ON UPDATE CASCADE",
    ),
    # The commit of a version is one of the same adapter and holds the same manifest. Looked at when the transaction
    # ends: an adapter that was never public is deleted with its commits and versions, in Django's order.
    ForeignKey(
        "version_commit_fk",
        "registry_version",
        "commit_id, adapter_id, digest",
        "registry_commit",
        "id, adapter_id, manifest_id",
        when="DEFERRED",
    ),
    ForeignKey("commit_parent_fk", "registry_commit", "parent_id, adapter_id", "registry_commit", "id, adapter_id"),
    ForeignKey("ref_commit_fk", "registry_ref", "commit_id, adapter_id", "registry_commit", "id, adapter_id"),
    ForeignKey("alias_version_fk", "registry_alias", "version_id, adapter_id", "registry_version", "id, adapter_id"),
    # A run judges files we have, on a base we know.
    ForeignKey("run_manifest_fk", "registry_run", "manifest_id, adapter_digest", "registry_manifest", "digest, adapter_digest"),
    ForeignKey("run_base_fk", "registry_run", "base_fingerprint", "registry_basemodel", "fingerprint"),
    ForeignKey("manifestfile_size_fk", "registry_manifestfile", "blob_id, size", "registry_blob", "sha256, size"),
]


class Migration(migrations.Migration):
    dependencies = [("registry", "0001_initial")]
    operations = [migrations.RunSQL(sql=key.create(), reverse_sql=key.drop()) for key in FOREIGN_KEYS]
