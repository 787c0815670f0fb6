from django.db import migrations

from conversations.quota_triggers import uninstall


def drop_triggers(apps, schema_editor):
    """Drop the triggers that name `echo`, before that is removed; those that are left come back after the migrations."""
    uninstall()


class Migration(migrations.Migration):
    """The triggers that count the bytes of `echo` are made after the migrations, as all of them: see `conversations/apps.py`."""

    dependencies = [
        ('completions', '0014_fill_run_metadata'),
        ('conversations', '0015_files_of_parts'),
    ]

    operations = [
        migrations.RunPython(migrations.RunPython.noop, drop_triggers),
    ]
