from django.db import migrations

from search.backends import postgres_schema, sqlite_schema
from search.tables import Tables


def forwards(apps, schema_editor):
    """Let the triggers note messages that carry a file whose text came or went."""
    _schema_of(schema_editor.connection).create_triggers(schema_editor.connection, Tables.of(apps))


def backwards(apps, schema_editor):
    """Drop those triggers, and let the others be as they were: the tables that they read go next."""
    connection, tables = schema_editor.connection, Tables.of(apps)
    names = _schema_of(connection).triggers(tables)
    _schema_of(connection).create_triggers(connection, tables._replace(part="", file="", file_text=""))
    with connection.cursor() as cursor:
        for name in (name for name in names if name.startswith("search_file_")):
            if connection.vendor == "postgresql":
                cursor.execute(f"DROP FUNCTION IF EXISTS {name} CASCADE")
            else:
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}")


def _schema_of(connection):
    return postgres_schema if connection.vendor == "postgresql" else sqlite_schema


class Migration(migrations.Migration):

    dependencies = [
        ('search', '0008_analysis'),
        ('files', '0003_file_texts'),
        ('conversations', '0015_files_of_parts'),
    ]

    operations = [
        migrations.RunPython(forwards, backwards),
    ]
