"""All tables, their columns, CHECKs, unique keys and indexes. What SQL alone can say follows in 0002 to 0004."""

import django.contrib.auth.models
import django.contrib.auth.validators
import django.contrib.postgres.indexes
import django.contrib.postgres.search
import django.db.models.deletion
import django.db.models.expressions
import django.db.models.functions.comparison
import django.db.models.functions.text
import django.utils.timezone
import registry.models.rules
import uuid
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
    ]

    operations = [
        migrations.CreateModel(
            name='User',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('password', models.CharField(max_length=128, verbose_name='password')),
                ('last_login', models.DateTimeField(blank=True, null=True, verbose_name='last login')),
                ('is_superuser', models.BooleanField(default=False, help_text='Designates that this user has all permissions without explicitly assigning them.', verbose_name='superuser status')),
                ('username', models.CharField(error_messages={'unique': 'A user with that username already exists.'}, help_text='Required. 150 characters or fewer. Letters, digits and @/./+/-/_ only.', max_length=150, unique=True, validators=[django.contrib.auth.validators.UnicodeUsernameValidator()], verbose_name='username')),
                ('first_name', models.CharField(blank=True, max_length=150, verbose_name='first name')),
                ('last_name', models.CharField(blank=True, max_length=150, verbose_name='last name')),
                ('email', models.EmailField(blank=True, max_length=254, verbose_name='email address')),
                ('is_staff', models.BooleanField(default=False, help_text='Designates whether the user can log into this admin site.', verbose_name='staff status')),
                ('is_active', models.BooleanField(default=True, help_text='Designates whether this user should be treated as active. Unselect this instead of deleting accounts.', verbose_name='active')),
                ('date_joined', models.DateTimeField(default=django.utils.timezone.now, verbose_name='date joined')),
                ('groups', models.ManyToManyField(blank=True, help_text='The groups this user belongs to. A user will get all permissions granted to each of their groups.', related_name='user_set', related_query_name='user', to='auth.group', verbose_name='groups')),
                ('user_permissions', models.ManyToManyField(blank=True, help_text='Specific permissions for this user.', related_name='user_set', related_query_name='user', to='auth.permission', verbose_name='user permissions')),
            ],
            options={
                'constraints': [models.UniqueConstraint(django.db.models.functions.text.Lower('username'), name='user_username_is_unique_in_any_case')],
                'indexes': [],
            },
            managers=[
                ('objects', django.contrib.auth.models.UserManager()),
            ],
        ),
        migrations.CreateModel(
            name='Namespace',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=96)),
                ('skeleton', models.GeneratedField(db_persist=True, expression=models.Func(django.db.models.functions.text.Lower(django.db.models.functions.comparison.Collate(models.F('name'), 'C')), models.Value('lio._-'), models.Value('110'), function='translate', output_field=models.TextField()), output_field=models.CharField(max_length=96))),
                ('kind', models.CharField(choices=[('user', 'User'), ('org', 'Org'), ('library', 'Library')], default='user', max_length=16)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('name__regex', '^[0-9A-Za-z][0-9A-Za-z._-]{0,95}$')), name='namespace_name_is_wellformed'), models.CheckConstraint(condition=models.Q(('name__regex', '(--|\\.\\.|[.-]$|\\.git$)'), _negated=True), name='namespace_name_reads_well'), models.CheckConstraint(condition=models.Q(('kind__in', ['library', 'org', 'user'])), name='namespace_kind_is_known'), models.UniqueConstraint(fields=('skeleton',), name='namespace_looks_like_no_other'), models.CheckConstraint(condition=models.Q(('skeleton__in', ['0', '10g0ut', '10g1n', '11vez', 'a', 'adapters', 'adm1n', 'ap1', 'b', 'c0mpare', 'c11ent', 'd0cs', 'datasets', 'm0de1s', 'metr1cs', 'new', 'raw', 'readyz', 'search', 'sett1ngs', 'spaces', 'stat1c', 't', 'u']), _negated=True), name='namespace_is_not_reserved'), models.CheckConstraint(condition=models.Q(models.Q(('kind', 'library'), ('name', 'library'), ('pk', 1)), models.Q(models.Q(('pk', 1), _negated=True), models.Q(('kind', 'library'), _negated=True), models.Q(('name', 'library'), _negated=True)), _connector='OR'), name='namespace_library_is_the_first')],
                'indexes': [],
            },
        ),
        migrations.CreateModel(
            name='Membership',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('namespace', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to='registry.namespace')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to=settings.AUTH_USER_MODEL)),
                ('role', models.CharField(choices=[('owner', 'Owner'), ('admin', 'Admin'), ('write', 'Write'), ('read', 'Read')], max_length=16)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('role__in', ['admin', 'owner', 'read', 'write'])), name='membership_role_is_known'), models.UniqueConstraint(fields=('namespace', 'user'), name='membership_is_one_a_user')],
                'indexes': [],
            },
        ),
        migrations.CreateModel(
            name='Token',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='tokens', to=settings.AUTH_USER_MODEL)),
                ('name', models.CharField(blank=True, default='', max_length=200)),
                ('prefix', models.CharField(max_length=12)),
                ('digest', registry.models.rules.DigestField(max_length=64, unique=True)),
                ('scope', models.CharField(choices=[('read', 'Read'), ('push', 'Push'), ('worker', 'Worker'), ('admin', 'Admin')], max_length=16)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('expires_at', models.DateTimeField(blank=True, null=True)),
                ('last_used_at', models.DateTimeField(blank=True, null=True)),
                ('revoked_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('digest__regex', '^[0-9a-f]{64}$')), name='token_digest_is_sha256'), models.CheckConstraint(condition=models.Q(('scope__in', ['admin', 'push', 'read', 'worker'])), name='token_scope_is_known')],
                'indexes': [],
            },
        ),
        migrations.CreateModel(
            name='Blob',
            fields=[
                ('sha256', registry.models.rules.DigestField(max_length=64, primary_key=True, serialize=False)),
                ('size', models.PositiveBigIntegerField()),
                ('git_oid', models.CharField(blank=True, max_length=40, null=True)),
                ('state', models.CharField(choices=[('live', 'Live'), ('deleting', 'Deleting'), ('gone', 'Gone')], default='live', max_length=16)),
                ('version', models.PositiveIntegerField(default=0)),
                ('last_referenced_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'indexes': [models.Index(fields=['git_oid'], name='blob_by_git_oid')],
                'constraints': [models.CheckConstraint(condition=models.Q(('sha256__regex', '^[0-9a-f]{64}$')), name='blob_sha256_is_sha256'), models.CheckConstraint(condition=models.Q(('git_oid__regex', '^[0-9a-f]{40}$')), name='blob_git_oid_is_sha1'), models.CheckConstraint(condition=models.Q(('state__in', ['deleting', 'gone', 'live'])), name='blob_state_is_known'), models.UniqueConstraint(fields=('sha256', 'size'), name='blob_sha256_size_key')],
            },
        ),
        migrations.CreateModel(
            name='Manifest',
            fields=[
                ('digest', registry.models.rules.DigestField(max_length=64, primary_key=True, serialize=False)),
                ('adapter_digest', registry.models.rules.DigestField(db_index=True, max_length=64)),
                ('size', models.PositiveBigIntegerField()),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('digest__regex', '^[0-9a-f]{64}$')), name='manifest_digest_is_sha256'), models.CheckConstraint(condition=models.Q(('adapter_digest__regex', '^[0-9a-f]{64}$')), name='manifest_adapter_digest_is_sha256'), models.UniqueConstraint(fields=('digest', 'adapter_digest'), name='manifest_digest_adapter_digest_key')],
                'indexes': [],
            },
        ),
        migrations.CreateModel(
            name='ManifestFile',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('manifest', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='files', to='registry.manifest')),
                ('path', models.CharField(max_length=1024)),
                ('blob', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='manifest_files', to='registry.blob')),
                ('size', models.PositiveBigIntegerField()),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('manifest', 'path'), name='manifestfile_path_is_one_a_manifest')],
                'indexes': [],
            },
        ),
        migrations.CreateModel(
            name='Component',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('manifest', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='components', to='registry.manifest')),
                ('folder', models.CharField(blank=True, default='', max_length=1024)),
                ('library', models.CharField(max_length=32)),
                ('method', models.CharField(max_length=64)),
                ('variant', models.CharField(blank=True, default='', max_length=64)),
                ('rank', models.PositiveIntegerField(blank=True, null=True)),
                ('parameters', models.PositiveBigIntegerField(default=0)),
                ('head_parameters', models.PositiveBigIntegerField(default=0)),
                ('head', models.JSONField(blank=True, null=True)),
                ('base_fingerprint', models.CharField(blank=True, db_index=True, max_length=69, null=True)),
                ('facts', models.JSONField(blank=True, default=dict)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('base_fingerprint__regex', '^base:[0-9a-f]{64}$')), name='component_base_fingerprint_is_base'), models.UniqueConstraint(fields=('manifest', 'folder'), name='component_is_one_a_folder')],
                'indexes': [],
            },
        ),
        migrations.CreateModel(
            name='Adapter',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('namespace', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='adapters', to='registry.namespace')),
                ('name', models.CharField(max_length=96)),
                ('skeleton', models.GeneratedField(db_persist=True, expression=models.Case(models.When(namespace_id=1, then=models.Func(django.db.models.functions.text.Lower(django.db.models.functions.comparison.Collate(models.F('name'), 'C')), models.Value('lio._-'), models.Value('110'), function='translate', output_field=models.TextField())), default=models.Func(django.db.models.functions.text.Lower(django.db.models.functions.comparison.Collate(models.F('name'), 'C')), models.Value('[-_.]+'), models.Value('-'), models.Value('g'), function='regexp_replace', output_field=models.TextField())), output_field=models.CharField(max_length=96))),
                ('visibility', models.CharField(choices=[('public', 'Public'), ('private', 'Private')], default='public', max_length=16)),
                ('description', models.CharField(blank=True, default='', max_length=4000)),
                ('task', models.CharField(blank=True, default='', max_length=64)),
                ('method', models.CharField(blank=True, default='', max_length=64)),
                ('base_fingerprint', models.CharField(blank=True, max_length=69, null=True)),
                ('search', models.GeneratedField(db_persist=True, expression=django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(models.Func(models.Func(models.Func(template="'simple'::regconfig"), models.Func(models.F('name'), models.Value(' '), models.Func(models.F('name'), models.Value('._/-'), models.Value('    '), function='translate'), arg_joiner=' || ', output_field=models.TextField(), template='(%(expressions)s)'), function='to_tsvector'), template="setweight(%(expressions)s, 'A')"), '||', models.Func(models.Func(models.Func(template="'simple'::regconfig"), models.Func(models.F('task'), models.Value(' '), models.Func(models.F('task'), models.Value('._/-'), models.Value('    '), function='translate'), models.Value(' '), models.F('method'), models.Value(' '), models.Func(models.F('method'), models.Value('._/-'), models.Value('    '), function='translate'), arg_joiner=' || ', output_field=models.TextField(), template='(%(expressions)s)'), function='to_tsvector'), template="setweight(%(expressions)s, 'B')"), output_field=django.contrib.postgres.search.SearchVectorField()), '||', models.Func(models.Func(models.Func(template="'simple'::regconfig"), models.Func(models.F('description'), models.Value(' '), models.Func(models.F('description'), models.Value('._/-'), models.Value('    '), function='translate'), arg_joiner=' || ', output_field=models.TextField(), template='(%(expressions)s)'), function='to_tsvector'), template="setweight(%(expressions)s, 'D')"), output_field=django.contrib.postgres.search.SearchVectorField()), output_field=django.contrib.postgres.search.SearchVectorField())),
                ('pulls', models.PositiveBigIntegerField(default=0)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('updated_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('deleted_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'indexes': [django.contrib.postgres.indexes.GinIndex(fields=['search'], name='adapter_by_words'), models.Index(fields=['base_fingerprint'], name='adapter_by_base'), models.Index(fields=['task'], name='adapter_by_task'), models.Index(fields=['method'], name='adapter_by_method'), models.Index(models.OrderBy(models.F('updated_at'), descending=True), models.OrderBy(models.F('id'), descending=True), condition=models.Q(('deleted_at', None)), name='adapter_newest_first'), models.Index(models.OrderBy(models.F('pulls'), descending=True), models.OrderBy(models.F('id'), descending=True), condition=models.Q(('deleted_at', None)), name='adapter_most_pulled')],
                'constraints': [models.CheckConstraint(condition=models.Q(('name__regex', '^[0-9A-Za-z][0-9A-Za-z._-]{0,95}$')), name='adapter_name_is_wellformed'), models.CheckConstraint(condition=models.Q(('name__regex', '(--|\\.\\.|[.-]$|\\.git$)'), _negated=True), name='adapter_name_reads_well'), models.CheckConstraint(condition=models.Q(('visibility__in', ['private', 'public'])), name='adapter_visibility_is_known'), models.CheckConstraint(condition=models.Q(('base_fingerprint__regex', '^base:[0-9a-f]{64}$')), name='adapter_base_fingerprint_is_base'), models.UniqueConstraint(fields=('namespace', 'skeleton'), name='adapter_looks_like_no_other')],
            },
        ),
        migrations.CreateModel(
            name='Commit',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('adapter', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='commits', to='registry.adapter')),
                ('oid', models.CharField(max_length=40)),
                ('parent', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.RESTRICT, related_name='children', to='registry.commit')),
                ('manifest', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='commits', to='registry.manifest')),
                ('author', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='commits', to=settings.AUTH_USER_MODEL)),
                ('message', models.TextField(blank=True, default='')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('oid__regex', '^[0-9a-f]{40}$')), name='commit_oid_is_sha1'), models.UniqueConstraint(fields=('adapter', 'oid'), name='commit_oid_is_one_an_adapter'), models.UniqueConstraint(fields=('id', 'adapter'), name='commit_id_adapter_key'), models.UniqueConstraint(fields=('id', 'adapter', 'manifest'), name='commit_id_adapter_manifest_key')],
                'indexes': [],
            },
        ),
        migrations.CreateModel(
            name='Ref',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('adapter', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='refs', to='registry.adapter')),
                ('kind', models.CharField(choices=[('head', 'Head'), ('tag', 'Tag')], max_length=8)),
                ('name', models.CharField(max_length=255)),
                ('commit', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='refs', to='registry.commit')),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('kind__in', ['head', 'tag'])), name='ref_kind_is_known'), models.UniqueConstraint(fields=('adapter', 'kind', 'name'), name='ref_is_one_a_name')],
                'indexes': [],
            },
        ),
        migrations.CreateModel(
            name='Redirect',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('namespace', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='redirects', to='registry.namespace')),
                ('name', models.CharField(max_length=96)),
                ('skeleton', models.GeneratedField(db_persist=True, expression=models.Case(models.When(namespace_id=1, then=models.Func(django.db.models.functions.text.Lower(django.db.models.functions.comparison.Collate(models.F('name'), 'C')), models.Value('lio._-'), models.Value('110'), function='translate', output_field=models.TextField())), default=models.Func(django.db.models.functions.text.Lower(django.db.models.functions.comparison.Collate(models.F('name'), 'C')), models.Value('[-_.]+'), models.Value('-'), models.Value('g'), function='regexp_replace', output_field=models.TextField())), output_field=models.CharField(max_length=96))),
                ('adapter', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='redirects', to='registry.adapter')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('name__regex', '^[0-9A-Za-z][0-9A-Za-z._-]{0,95}$')), name='redirect_name_is_wellformed'), models.CheckConstraint(condition=models.Q(('name__regex', '(--|\\.\\.|[.-]$|\\.git$)'), _negated=True), name='redirect_name_reads_well'), models.UniqueConstraint(fields=('namespace', 'skeleton'), name='redirect_looks_like_no_other')],
                'indexes': [],
            },
        ),
        migrations.CreateModel(
            name='Tombstone',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('namespace', 'Namespace'), ('adapter', 'Adapter')], max_length=16)),
                ('namespace_id', models.BigIntegerField()),
                ('namespace_name', models.CharField(max_length=96)),
                ('namespace_skeleton', models.GeneratedField(db_persist=True, expression=models.Func(django.db.models.functions.text.Lower(django.db.models.functions.comparison.Collate(models.F('namespace_name'), 'C')), models.Value('lio._-'), models.Value('110'), function='translate', output_field=models.TextField()), output_field=models.CharField(max_length=96))),
                ('name', models.CharField(blank=True, default='', max_length=96)),
                ('skeleton', models.GeneratedField(db_persist=True, expression=models.Case(models.When(namespace_id=1, then=models.Func(django.db.models.functions.text.Lower(django.db.models.functions.comparison.Collate(models.F('name'), 'C')), models.Value('lio._-'), models.Value('110'), function='translate', output_field=models.TextField())), default=models.Func(django.db.models.functions.text.Lower(django.db.models.functions.comparison.Collate(models.F('name'), 'C')), models.Value('[-_.]+'), models.Value('-'), models.Value('g'), function='regexp_replace', output_field=models.TextField())), output_field=models.CharField(max_length=96))),
                ('owner', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('last_number', models.PositiveIntegerField(default=0)),
                ('reason', models.TextField(blank=True, default='')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'indexes': [models.Index(fields=['namespace_skeleton', 'skeleton'], name='tombstone_by_name')],
                'constraints': [models.CheckConstraint(condition=models.Q(('kind__in', ['adapter', 'namespace'])), name='tombstone_kind_is_known'), models.CheckConstraint(condition=models.Q(models.Q(('kind', 'namespace'), ('name', '')), models.Q(('kind', 'adapter'), models.Q(('name', ''), _negated=True)), _connector='OR'), name='tombstone_names_its_dead')],
            },
        ),
        migrations.CreateModel(
            name='BaseModel',
            fields=[
                ('fingerprint', models.CharField(max_length=69, primary_key=True, serialize=False)),
                ('state', models.CharField(choices=[('claimed', 'Claimed'), ('observed', 'Observed'), ('located', 'Located')], default='claimed', max_length=16)),
                ('observed', models.GeneratedField(db_persist=True, expression=models.ExpressionWrapper(models.Q(('state', 'claimed'), _negated=True), output_field=models.BooleanField()), output_field=models.BooleanField())),
                ('name', models.CharField(blank=True, default='', max_length=255)),
                ('config', models.JSONField(blank=True, default=dict)),
                ('roots', models.JSONField(blank=True, default=dict)),
                ('cast_roots', models.JSONField(blank=True, default=dict)),
                ('architecture', registry.models.rules.DigestField(max_length=64)),
                ('tokenizer_digest', registry.models.rules.DigestField(blank=True, max_length=64, null=True)),
                ('tensors', models.JSONField(default=list)),
                ('parameters', models.PositiveBigIntegerField(default=0)),
                ('owner', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='base_models', to='registry.namespace')),
                ('visibility', models.CharField(choices=[('public', 'Public'), ('private', 'Private')], default='public', max_length=16)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('updated_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'indexes': [models.Index(fields=['architecture'], name='basemodel_by_architecture')],
                'constraints': [models.CheckConstraint(condition=models.Q(('fingerprint__regex', '^base:[0-9a-f]{64}$')), name='basemodel_fingerprint_is_base'), models.CheckConstraint(condition=models.Q(('architecture__regex', '^[0-9a-f]{64}$')), name='basemodel_architecture_is_sha256'), models.CheckConstraint(condition=models.Q(('tokenizer_digest__regex', '^[0-9a-f]{64}$')), name='basemodel_tokenizer_digest_is_sha256'), models.CheckConstraint(condition=models.Q(('state__in', ['claimed', 'located', 'observed'])), name='basemodel_state_is_known'), models.CheckConstraint(condition=models.Q(('visibility__in', ['private', 'public'])), name='basemodel_visibility_is_known'), models.UniqueConstraint(fields=('fingerprint', 'observed'), name='basemodel_fingerprint_observed_key')],
            },
        ),
        migrations.CreateModel(
            name='BaseAlias',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=512)),
                ('revision', models.CharField(blank=True, default='', max_length=128)),
                ('kind', models.CharField(choices=[('hub', 'Hub'), ('mirror', 'Mirror'), ('folder', 'Folder')], max_length=16)),
                ('base', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='aliases', to='registry.basemodel')),
                ('namespace', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='base_aliases', to='registry.namespace')),
                ('state', models.CharField(choices=[('live', 'Live'), ('renamed', 'Renamed'), ('gone', 'Gone'), ('gated', 'Gated')], default='live', max_length=16)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'indexes': [models.Index(fields=['name'], name='basealias_by_name')],
                'constraints': [models.CheckConstraint(condition=models.Q(('kind__in', ['folder', 'hub', 'mirror'])), name='basealias_kind_is_known'), models.CheckConstraint(condition=models.Q(('state__in', ['gated', 'gone', 'live', 'renamed'])), name='basealias_state_is_known'), models.UniqueConstraint(condition=models.Q(('state', 'live')), fields=('namespace', 'name'), name='basealias_live_name_is_one', nulls_distinct=False)],
            },
        ),
        migrations.CreateModel(
            name='Benchmark',
            fields=[
                ('digest', registry.models.rules.DigestField(max_length=64, primary_key=True, serialize=False)),
                ('name', models.CharField(max_length=200)),
                ('definition', models.JSONField()),
                ('task', models.CharField(max_length=64)),
                ('metric', models.CharField(max_length=64)),
                ('direction', models.CharField(choices=[('up', 'Up'), ('down', 'Down')], default='up', max_length=8)),
                ('visibility', models.CharField(choices=[('public', 'Public'), ('private', 'Private')], default='public', max_length=16)),
                ('rows', models.PositiveIntegerField(default=0)),
                ('owner', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='benchmarks', to='registry.namespace')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('files', models.JSONField(default=dict)),
            ],
            options={
                'indexes': [models.Index(fields=['name', '-created_at'], name='benchmark_newest_by_name'), models.Index(fields=['task'], name='benchmark_by_task')],
                'constraints': [models.CheckConstraint(condition=models.Q(('digest__regex', '^[0-9a-f]{64}$')), name='benchmark_digest_is_sha256'), models.CheckConstraint(condition=models.Q(('direction__in', ['down', 'up'])), name='benchmark_direction_is_known'), models.CheckConstraint(condition=models.Q(('visibility__in', ['private', 'public'])), name='benchmark_visibility_is_known')],
            },
        ),
        migrations.CreateModel(
            name='Policy',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('namespace', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='policy', to='registry.namespace')),
                ('definition', models.JSONField(default=dict)),
                ('updated_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'verbose_name_plural': 'policies',
                'indexes': [],
                'constraints': [],
            },
        ),
        migrations.CreateModel(
            name='Run',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('adapter_digest', registry.models.rules.DigestField(max_length=64)),
                ('base_fingerprint', models.CharField(max_length=69)),
                ('plan_digest', registry.models.rules.DigestField(max_length=64)),
                ('plan', models.JSONField()),
                ('manifest', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='runs', to='registry.manifest')),
                ('status', models.CharField(choices=[('queued', 'Queued'), ('leased', 'Leased'), ('passed', 'Passed'), ('failed', 'Failed'), ('error', 'Error'), ('superseded', 'Superseded')], default='queued', max_length=16)),
                ('passed', models.GeneratedField(db_persist=True, expression=models.ExpressionWrapper(models.Q(('status', 'passed')), output_field=models.BooleanField()), output_field=models.BooleanField())),
                ('stage', models.CharField(blank=True, default='', max_length=64)),
                ('lease_no', models.PositiveIntegerField(default=0)),
                ('lease_token_digest', registry.models.rules.DigestField(blank=True, max_length=64, null=True)),
                ('lease_expires_at', models.DateTimeField(blank=True, null=True)),
                ('report_token_digest', registry.models.rules.DigestField(blank=True, max_length=64, null=True)),
                ('worker', models.CharField(blank=True, default='', max_length=200)),
                ('attempt', models.PositiveIntegerField(default=0)),
                ('takeovers', models.PositiveIntegerField(default=0)),
                ('report', models.JSONField(blank=True, null=True)),
                ('result_digest', registry.models.rules.DigestField(blank=True, max_length=64, null=True)),
                ('error', models.TextField(blank=True, default='')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('started_at', models.DateTimeField(blank=True, null=True)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('base_model', models.ForeignObject(editable=False, from_fields=['base_fingerprint'], on_delete=django.db.models.deletion.PROTECT, related_name='runs', to='registry.basemodel', to_fields=['fingerprint'])),
            ],
            options={
                'indexes': [models.Index(models.F('created_at'), models.F('id'), condition=models.Q(('status', 'queued')), name='run_queue'), models.Index(condition=models.Q(('status', 'leased')), fields=['lease_expires_at'], name='run_leases'), models.Index(fields=['base_fingerprint'], name='run_by_base')],
                'constraints': [models.CheckConstraint(condition=models.Q(('adapter_digest__regex', '^[0-9a-f]{64}$')), name='run_adapter_digest_is_sha256'), models.CheckConstraint(condition=models.Q(('plan_digest__regex', '^[0-9a-f]{64}$')), name='run_plan_digest_is_sha256'), models.CheckConstraint(condition=models.Q(('lease_token_digest__regex', '^[0-9a-f]{64}$')), name='run_lease_token_digest_is_sha256'), models.CheckConstraint(condition=models.Q(('report_token_digest__regex', '^[0-9a-f]{64}$')), name='run_report_token_digest_is_sha256'), models.CheckConstraint(condition=models.Q(('result_digest__regex', '^[0-9a-f]{64}$')), name='run_result_digest_is_sha256'), models.CheckConstraint(condition=models.Q(('base_fingerprint__regex', '^base:[0-9a-f]{64}$')), name='run_base_fingerprint_is_base'), models.CheckConstraint(condition=models.Q(('status__in', ['error', 'failed', 'leased', 'passed', 'queued', 'superseded'])), name='run_status_is_known'), models.CheckConstraint(condition=models.Q(models.Q(models.Q(('status', 'leased')), ('lease_expires_at__isnull', False), ('lease_token_digest__isnull', False)), models.Q(models.Q(('status', 'leased'), _negated=True), ('lease_expires_at__isnull', True), ('lease_token_digest__isnull', True)), _connector='OR'), name='run_leased_means_token_and_expiry'), models.CheckConstraint(condition=models.Q(models.Q(('status__in', ['failed', 'passed']), _negated=True), models.Q(('finished_at__isnull', False), ('report__isnull', False), ('result_digest__isnull', False)), _connector='OR'), name='run_judged_has_report'), models.UniqueConstraint(fields=('id', 'adapter_digest', 'base_fingerprint', 'plan_digest', 'passed'), name='run_evidence_key'), models.UniqueConstraint(condition=models.Q(('status__in', ['failed', 'leased', 'passed', 'queued'])), fields=('adapter_digest', 'base_fingerprint', 'plan_digest'), name='run_is_one_an_evidence_key')],
            },
        ),
        migrations.CreateModel(
            name='Score',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='scores', to='registry.run')),
                ('component_folder', models.CharField(blank=True, default='', max_length=1024)),
                ('benchmark', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='scores', to='registry.benchmark')),
                ('metric', models.CharField(max_length=64)),
                ('direction', models.CharField(choices=[('up', 'Up'), ('down', 'Down')], default='up', max_length=8)),
                ('value', models.FloatField()),
                ('low', models.FloatField(blank=True, null=True)),
                ('high', models.FloatField(blank=True, null=True)),
                ('n', models.PositiveIntegerField()),
                ('baselines', models.JSONField(default=dict)),
                ('gain', models.JSONField(blank=True, null=True)),
                ('gates', models.JSONField(default=list)),
                ('claimed', models.FloatField(blank=True, null=True)),
                ('runtime', models.CharField(default='reference', max_length=64)),
                ('evidence', models.CharField(choices=[('ran', 'Ran'), ('rescored', 'Rescored'), ('attested', 'Attested'), ('claimed', 'Claimed')], default='ran', max_length=16)),
                ('predictions', models.JSONField(blank=True, null=True)),
            ],
            options={
                'indexes': [models.Index(fields=['benchmark', 'value'], name='score_leaderboard')],
                'constraints': [models.CheckConstraint(condition=models.Q(('direction__in', ['down', 'up'])), name='score_direction_is_known'), models.CheckConstraint(condition=models.Q(('evidence__in', ['attested', 'claimed', 'ran', 'rescored'])), name='score_evidence_is_known'), models.CheckConstraint(condition=models.Q(('value__gt', -1e+308), ('value__lt', 1e+308)), name='score_value_is_finite'), models.CheckConstraint(condition=models.Q(('low__lte', models.F('high'))), name='score_interval_is_ordered'), models.UniqueConstraint(fields=('run', 'component_folder', 'benchmark', 'runtime'), name='score_is_one_a_benchmark')],
            },
        ),
        migrations.CreateModel(
            name='Version',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('adapter', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='versions', to='registry.adapter')),
                ('number', models.PositiveIntegerField()),
                ('label', models.CharField(blank=True, max_length=64, null=True)),
                ('commit', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.RESTRICT, related_name='versions', to='registry.commit')),
                ('digest', registry.models.rules.DigestField(blank=True, max_length=64, null=True)),
                ('adapter_digest', registry.models.rules.DigestField(blank=True, max_length=64, null=True)),
                ('base_fingerprint', models.CharField(blank=True, max_length=69, null=True)),
                ('base_observed', models.BooleanField(blank=True, null=True)),
                ('plan', models.JSONField(blank=True, null=True)),
                ('plan_digest', registry.models.rules.DigestField(blank=True, max_length=64, null=True)),
                ('run', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='versions', to='registry.run')),
                ('run_passed', models.BooleanField(blank=True, null=True)),
                ('status', models.CharField(choices=[('draft', 'Draft'), ('validating', 'Validating'), ('published', 'Published'), ('rejected', 'Rejected'), ('hosted', 'Hosted')], default='draft', max_length=16)),
                ('stage', models.CharField(blank=True, default='', max_length=64)),
                ('report', models.JSONField(blank=True, null=True)),
                ('message', models.TextField(blank=True, default='')),
                ('author', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='versions', to=settings.AUTH_USER_MODEL)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('published_at', models.DateTimeField(blank=True, null=True)),
                ('yanked_at', models.DateTimeField(blank=True, null=True)),
                ('yank_reason', models.TextField(blank=True, default='')),
                ('quarantined_at', models.DateTimeField(blank=True, null=True)),
                ('regressed_at', models.DateTimeField(blank=True, null=True)),
                ('manifest', models.ForeignObject(editable=False, from_fields=['digest', 'adapter_digest'], null=True, on_delete=django.db.models.deletion.PROTECT, related_name='versions', to='registry.manifest', to_fields=['digest', 'adapter_digest'])),
                ('base_model', models.ForeignObject(editable=False, from_fields=['base_fingerprint'], null=True, on_delete=django.db.models.deletion.PROTECT, related_name='versions', to='registry.basemodel', to_fields=['fingerprint'])),
            ],
            options={
                'indexes': [models.Index(models.F('adapter'), models.F('status'), models.OrderBy(models.F('number'), descending=True), name='version_newest'), models.Index(fields=['digest'], name='version_by_digest'), models.Index(fields=['adapter_digest', 'base_fingerprint', 'plan_digest'], name='version_by_evidence_key'), models.Index(fields=['base_fingerprint'], name='version_by_base')],
                'constraints': [models.CheckConstraint(condition=models.Q(('digest__regex', '^[0-9a-f]{64}$')), name='version_digest_is_sha256'), models.CheckConstraint(condition=models.Q(('adapter_digest__regex', '^[0-9a-f]{64}$')), name='version_adapter_digest_is_sha256'), models.CheckConstraint(condition=models.Q(('plan_digest__regex', '^[0-9a-f]{64}$')), name='version_plan_digest_is_sha256'), models.CheckConstraint(condition=models.Q(('base_fingerprint__regex', '^base:[0-9a-f]{64}$')), name='version_base_fingerprint_is_base'), models.CheckConstraint(condition=models.Q(('status__in', ['draft', 'hosted', 'published', 'rejected', 'validating'])), name='version_status_is_known'), models.CheckConstraint(condition=models.Q(('label__regex', '^[0-9A-Za-z][0-9A-Za-z._-]{0,63}$')), name='version_label_is_wellformed'), models.CheckConstraint(condition=models.Q(('label__iexact', 'latest'), _negated=True), name='version_label_is_not_latest'), models.CheckConstraint(condition=models.Q(('number__gte', 1)), name='version_number_is_positive'), models.CheckConstraint(condition=models.Q(('label__isnull', True), models.Q(('label__regex', '^[0-9]+$'), _negated=True), ('label', django.db.models.functions.comparison.Cast(models.F('number'), models.CharField())), _connector='OR'), name='version_label_of_digits_is_its_number'), models.CheckConstraint(condition=models.Q(models.Q(('adapter_digest__isnull', True), ('digest__isnull', True)), models.Q(('adapter_digest__isnull', False), ('digest__isnull', False)), _connector='OR'), name='version_digests_come_together'), models.CheckConstraint(condition=models.Q(models.Q(('status__in', ['hosted', 'published']), _negated=True), models.Q(('commit__isnull', False), ('digest__isnull', False), ('published_at__isnull', False)), _connector='OR'), name='version_public_has_content'), models.CheckConstraint(condition=models.Q(models.Q(('status', 'published'), _negated=True), models.Q(('adapter_digest__isnull', False), ('base_fingerprint__isnull', False), ('base_observed', True), ('base_observed__isnull', False), ('plan_digest__isnull', False), ('run__isnull', False), ('run_passed', True), ('run_passed__isnull', False)), _connector='OR'), name='version_published_has_evidence'), models.CheckConstraint(condition=models.Q(models.Q(('status', 'rejected'), _negated=True), ('report__isnull', False), ('run__isnull', False), _connector='OR'), name='version_rejected_says_why'), models.CheckConstraint(condition=models.Q(models.Q(('yanked_at__isnull', False), _negated=True), ('status__in', ['hosted', 'published']), _connector='OR'), name='version_yanked_was_public'), models.UniqueConstraint(fields=('adapter', 'number'), name='version_number_is_one_an_adapter'), models.UniqueConstraint(condition=models.Q(('status', 'rejected'), _negated=True), fields=('adapter', 'label'), name='version_label_is_one_an_adapter'), models.UniqueConstraint(fields=('id', 'adapter'), name='version_id_adapter_key')],
            },
        ),
        migrations.CreateModel(
            name='Alias',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('adapter', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='aliases', to='registry.adapter')),
                ('name', models.CharField(max_length=64)),
                ('version', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='aliases', to='registry.version')),
                ('updated_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'verbose_name_plural': 'aliases',
                'constraints': [models.CheckConstraint(condition=models.Q(('name__regex', '^[0-9A-Za-z][0-9A-Za-z._-]{0,63}$')), name='alias_name_is_wellformed'), models.CheckConstraint(condition=models.Q(('name__regex', '^[0-9]+$'), _negated=True), name='alias_is_not_a_number'), models.UniqueConstraint(fields=('adapter', 'name'), name='alias_is_one_a_name')],
                'indexes': [],
            },
        ),
        migrations.CreateModel(
            name='Upload',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('adapter', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='uploads', to='registry.adapter')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='uploads', to=settings.AUTH_USER_MODEL)),
                ('manifest', models.JSONField()),
                ('digest', registry.models.rules.DigestField(max_length=64)),
                ('label', models.CharField(blank=True, max_length=64, null=True)),
                ('private', models.BooleanField(default=False)),
                ('message', models.TextField(blank=True, default='')),
                ('state', models.CharField(choices=[('open', 'Open'), ('ingesting', 'Ingesting'), ('done', 'Done'), ('failed', 'Failed'), ('expired', 'Expired')], default='open', max_length=16)),
                ('reserved_bytes', models.PositiveBigIntegerField(default=0)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('expires_at', models.DateTimeField()),
                ('idempotency_key', models.CharField(blank=True, max_length=200, null=True)),
                ('lease_expires_at', models.DateTimeField(blank=True, null=True)),
                ('attempt', models.PositiveIntegerField(default=0)),
                ('version', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='uploads', to='registry.version')),
                ('problems', models.JSONField(blank=True, null=True)),
            ],
            options={
                'indexes': [models.Index(condition=models.Q(('state', 'open')), fields=['expires_at'], name='upload_expiring'), models.Index(condition=models.Q(('state', 'ingesting')), fields=['created_at'], name='upload_ingesting')],
                'constraints': [models.CheckConstraint(condition=models.Q(('digest__regex', '^[0-9a-f]{64}$')), name='upload_digest_is_sha256'), models.CheckConstraint(condition=models.Q(('label__regex', '^[0-9A-Za-z][0-9A-Za-z._-]{0,63}$')), name='upload_label_is_wellformed'), models.CheckConstraint(condition=models.Q(('state__in', ['done', 'expired', 'failed', 'ingesting', 'open'])), name='upload_state_is_known'), models.UniqueConstraint(fields=('user', 'idempotency_key'), name='upload_idempotency_key_is_one_a_user')],
            },
        ),
        migrations.CreateModel(
            name='UploadBlob',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('upload', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='blobs', to='registry.upload')),
                ('n', models.PositiveIntegerField()),
                ('path', models.CharField(max_length=1024)),
                ('sha256', registry.models.rules.DigestField(max_length=64)),
                ('size', models.PositiveBigIntegerField()),
                ('received', models.PositiveBigIntegerField(default=0)),
                ('staging_key', models.CharField(blank=True, default='', max_length=255)),
                ('multipart_id', models.CharField(blank=True, max_length=1024, null=True)),
                ('done', models.BooleanField(default=False)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('sha256__regex', '^[0-9a-f]{64}$')), name='uploadblob_sha256_is_sha256'), models.CheckConstraint(condition=models.Q(('received__lte', models.F('size'))), name='uploadblob_received_within_announced'), models.UniqueConstraint(fields=('upload', 'n'), name='uploadblob_n_is_one_an_upload'), models.UniqueConstraint(fields=('upload', 'path'), name='uploadblob_path_is_one_an_upload')],
                'indexes': [],
            },
        ),
        migrations.CreateModel(
            name='Event',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField(default=django.utils.timezone.now)),
                ('actor', models.CharField(blank=True, default='', max_length=200)),
                ('kind', models.CharField(max_length=64)),
                ('subject', models.CharField(blank=True, default='', max_length=300)),
                ('data', models.JSONField(blank=True, default=dict)),
            ],
            options={
                'indexes': [models.Index(models.F('subject'), models.OrderBy(models.F('id'), descending=True), name='event_by_subject'), models.Index(models.F('kind'), models.OrderBy(models.F('id'), descending=True), name='event_by_kind')],
                'constraints': [],
            },
        ),
        migrations.CreateModel(
            name='Outbox',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('queue', models.CharField(choices=[('registry', 'Registry'), ('runs', 'Runs')], max_length=16)),
                ('kind', models.CharField(max_length=64)),
                ('payload', models.JSONField(default=dict)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('sent_at', models.DateTimeField(blank=True, null=True)),
                ('sends', models.PositiveIntegerField(default=0)),
            ],
            options={
                'verbose_name_plural': 'outbox',
                'indexes': [models.Index(condition=models.Q(('sent_at', None)), fields=['id'], name='outbox_unsent')],
                'constraints': [models.CheckConstraint(condition=models.Q(('queue__in', ['registry', 'runs'])), name='outbox_queue_is_known')],
            },
        ),
        # The one namespace that is nobody's: a bare name is `library/name`. The sequence goes on after it.
        migrations.RunSQL(
            sql="""
                INSERT INTO registry_namespace (id, name, kind, created_at) VALUES (1, 'library', 'library', now());
                ALTER TABLE registry_namespace ALTER COLUMN id RESTART WITH 2;
            """,
            reverse_sql=migrations.RunSQL.noop,  # the table goes, and the row with it
        ),
    ]
