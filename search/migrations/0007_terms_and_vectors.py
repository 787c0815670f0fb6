from accounts.migration_operations import EnsureField
from django.db import migrations

from search.backends import postgres_schema, sqlite_schema
from search.fields import TermsField, VectorField
from search.tables import Tables


class EnsureVectors(EnsureField):
    """Add the vectors' column; on PostgreSQL without pgvector, do nothing."""

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        if schema_editor.connection.vendor == 'postgresql':
            postgres_schema.add_vectors(schema_editor.connection, Tables.of(to_state.apps))
        else:
            super().database_forwards(app_label, schema_editor, from_state, to_state)


def schema_of(connection):
    return postgres_schema if connection.vendor == 'postgresql' else sqlite_schema


def create(apps, schema_editor):
    schema_of(schema_editor.connection).create(schema_editor.connection, Tables.of(apps))


def drop(apps, schema_editor):
    schema_of(schema_editor.connection).drop(schema_editor.connection, Tables.of(apps))


class Migration(migrations.Migration):
    """Columns, indexes and triggers that earlier versions created after all migrations; existing ones are adopted."""

    dependencies = [
        ('conversations', '0001_initial'),
        ('search', '0006_previous_turns'),
    ]

    operations = [
        EnsureField('entry', 'terms', TermsField(editable=False, serialize=False)),
        EnsureVectors('passage', 'vector', VectorField(editable=False, serialize=False)),
        migrations.RunPython(create, drop),
    ]
