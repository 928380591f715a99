from django.db import migrations


def index_cves(apps, schema_editor):
    """By which Postgres finds the updates that name a CVE; SQLite has no such index."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("CREATE INDEX updates_by_cve ON scanner_update USING gin (cves jsonb_path_ops)")


def drop_index(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP INDEX updates_by_cve")


class Migration(migrations.Migration):

    dependencies = [
        ('scanner', '0011_oldest_open_update'),
    ]

    operations = [
        migrations.RunPython(index_cves, drop_index),
    ]
