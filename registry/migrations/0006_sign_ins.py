"""Attempts to sign in, to be counted."""

import django.utils.timezone
from django.db import migrations, models

import registry.models.rules


class Migration(migrations.Migration):
    dependencies = [("registry", "0005_pauses_and_pulls")]

    operations = [
        migrations.CreateModel(
            name="SignIn",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("subject", registry.models.rules.DigestField(max_length=64)),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["subject", "at"], name="signin_by_subject"),
                    models.Index(fields=["at"], name="signin_by_time"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("subject__regex", "^[0-9a-f]{64}$")), name="signin_subject_is_sha256"
                    )
                ],
            },
        ),
    ]
