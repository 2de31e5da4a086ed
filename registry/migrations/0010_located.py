"""Base models that are known by the headers of their weights, and base models whose files the hub holds."""

import django.db.models.deletion
import django.utils.timezone
import registry.models.rules
from django.db import migrations, models

KEPT = (
    "name", "namespace_id", "source", "revision", "config", "tensors", "files", "files_digest", "size", "architecture",
    "offer_id", "tokenizer_digest", "parameters",
)
CHANGED = " OR ".join(f"NEW.{column} IS DISTINCT FROM OLD.{column}" for column in KEPT)
UNBOUND = "OLD.state = 'observed' AND (NEW.state <> 'observed' OR NEW.base_id IS DISTINCT FROM OLD.base_id)"


def refusal(name: str, condition: str, message: str) -> migrations.RunSQL:
    return migrations.RunSQL(
        sql=f"CREATE TRIGGER {name} BEFORE UPDATE ON registry_locatedbase FOR EACH ROW WHEN ({condition})"
        f" EXECUTE FUNCTION registry_refuse('{message}')",
        reverse_sql=f"DROP TRIGGER {name} ON registry_locatedbase",
    )


class Migration(migrations.Migration):

    dependencies = [
        ('registry', '0009_quantised_bases'),
    ]

    operations = [
        migrations.CreateModel(
            name='LocatedBase',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=512)),
                ('source', models.CharField(max_length=512)),
                ('revision', models.CharField(max_length=40)),
                ('config', models.JSONField(default=dict)),
                ('tensors', models.JSONField()),
                ('files', models.JSONField()),
                ('files_digest', registry.models.rules.DigestField(max_length=64)),
                ('size', models.PositiveBigIntegerField()),
                ('architecture', registry.models.rules.DigestField(max_length=64)),
                ('tokenizer_digest', registry.models.rules.DigestField(blank=True, max_length=64, null=True)),
                ('parameters', models.PositiveBigIntegerField(default=0)),
                ('visibility', models.CharField(choices=[('public', 'Public'), ('private', 'Private')], default='public', max_length=16)),
                ('state', models.CharField(choices=[('open', 'Open'), ('claimed', 'Claimed'), ('observed', 'Observed')], default='open', max_length=16)),
                ('claimed_by', models.CharField(blank=True, default='', max_length=200)),
                ('located_by', models.CharField(max_length=200)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('superseded_at', models.DateTimeField(blank=True, null=True)),
                ('base', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='located', to='registry.basemodel')),
                ('namespace', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='located_bases', to='registry.namespace')),
                ('offer', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='located_bases', to='registry.offer')),
            ],
            options={
                'indexes': [models.Index(fields=['name'], name='locatedbase_by_name'), models.Index(fields=['files_digest'], name='locatedbase_by_files'), models.Index(condition=models.Q(('state', 'observed'), _negated=True), fields=['size'], name='locatedbase_awaited')],
                'constraints': [models.CheckConstraint(condition=models.Q(('files_digest__regex', '^[0-9a-f]{64}$')), name='locatedbase_files_digest_is_sha256'), models.CheckConstraint(condition=models.Q(('architecture__regex', '^[0-9a-f]{64}$')), name='locatedbase_architecture_is_sha256'), models.CheckConstraint(condition=models.Q(('tokenizer_digest__regex', '^[0-9a-f]{64}$')), name='locatedbase_tokenizer_digest_is_sha256'), models.CheckConstraint(condition=models.Q(('revision__regex', '^[0-9a-f]{40}$')), name='locatedbase_revision_is_a_commit'), models.CheckConstraint(condition=models.Q(('state__in', ['claimed', 'observed', 'open'])), name='locatedbase_state_is_known'), models.CheckConstraint(condition=models.Q(('visibility__in', ['private', 'public'])), name='locatedbase_visibility_is_known'), models.CheckConstraint(condition=models.Q(models.Q(('base__isnull', True), ('state', 'open')), models.Q(models.Q(('state', 'open'), _negated=True), ('base__isnull', False)), _connector='OR'), name='locatedbase_base_is_told_or_open'), models.CheckConstraint(condition=models.Q(models.Q(('state', 'claimed'), _negated=True), models.Q(('claimed_by', ''), _negated=True), _connector='OR'), name='locatedbase_claim_says_who'), models.CheckConstraint(condition=models.Q(models.Q(('visibility', 'private'), _negated=True), ('namespace__isnull', False), _connector='OR'), name='locatedbase_private_has_namespace'), models.UniqueConstraint(condition=models.Q(('superseded_at', None)), fields=('namespace', 'name'), name='locatedbase_name_is_one', nulls_distinct=False)],
            },
        ),
        refusal("locatedbase_is_kept", CHANGED, "what was read at a commit never changes"),
        refusal("locatedbase_observed_stays", UNBOUND, "who held the files has spoken"),
        migrations.CreateModel(
            name="BaseFile",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("path", models.CharField(max_length=255)),
                ("sha256", registry.models.rules.DigestField(max_length=64)),
                ("size", models.PositiveBigIntegerField()),
                ("stored_by", models.CharField(max_length=200)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("base", models.ForeignKey("registry.basemodel", models.PROTECT, related_name="files")),
                (
                    "blob",
                    models.ForeignKey(
                        "registry.blob", models.PROTECT, blank=True, null=True, related_name="base_files"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("sha256__regex", "^[0-9a-f]{64}$")), name="basefile_sha256_is_sha256"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("blob__isnull", True), ("blob", models.F("sha256")), _connector="OR"),
                        name="basefile_blob_is_what_was_announced",
                    ),
                    models.UniqueConstraint(fields=("base", "path"), name="basefile_path_is_one_a_base"),
                ],
            },
        ),
        migrations.RemoveConstraint("basealias", "basealias_kind_is_known"),
        migrations.AlterField(
            "basealias",
            "kind",
            models.CharField(
                choices=[("hub", "Hub"), ("mirror", "Mirror"), ("folder", "Folder"), ("stored", "Stored")],
                max_length=16,
            ),
        ),
        migrations.AddConstraint(
            "basealias",
            models.CheckConstraint(
                condition=models.Q(("kind__in", ["folder", "hub", "mirror", "stored"])), name="basealias_kind_is_known"
            ),
        ),
        # Backwards: the files that such a place spoke of go with their table, and the edition before knows no such kind.
        migrations.RunSQL(migrations.RunSQL.noop, "DELETE FROM registry_basealias WHERE kind = 'stored'"),
    ]
