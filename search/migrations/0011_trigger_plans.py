from django.db import migrations

from search.backends import postgres_schema
from search.tables import Tables


def replace_triggers(apps, schema_editor):
    """Let triggers read each message at most once for a change, whatever the planner expects of the table."""
    if schema_editor.connection.vendor == "postgresql":
        postgres_schema.create_triggers(schema_editor.connection, Tables.of(apps))


class Migration(migrations.Migration):
    dependencies = [("search", "0010_embedder_names"), ("files", "0003_file_texts"), ("conversations", "0015_files_of_parts")]

    # Backwards, the new triggers stay: they note the same messages.
    operations = [migrations.RunPython(replace_triggers, migrations.RunPython.noop)]
