"""Pauses after a fault, pulls that are counted later, and the publisher's own description."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("registry", "0004_tombstones")]

    operations = [
        migrations.AlterModelOptions(name="basemodel", options={"base_manager_name": "objects"}),
        migrations.AddField("adapter", "own_description", models.CharField(blank=True, default="", max_length=4000)),
        migrations.AddField("run", "not_before", models.DateTimeField(blank=True, null=True)),
        migrations.AddField("upload", "faults", models.PositiveIntegerField(default=0)),
        migrations.CreateModel(
            name="Pull",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("adapter", models.ForeignKey("registry.adapter", models.CASCADE, related_name="uncounted_pulls")),
            ],
        ),
    ]
