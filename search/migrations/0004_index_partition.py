from django.db import migrations

ACTIONS = ('add', 'change', 'delete', 'view')
# Parts of the names that PostgreSQL gave to constraints, to the indexes behind them, and to the sequence of ids.
NAMES = [('search_space_', 'search_indexpartition_'), ('search_passage_space_id_', 'search_passage_partition_id_')]


def rename_grants(apps, old, new):
    """Rename a model's permissions, so that whoever has them keeps them."""
    permissions = apps.get_model('auth', 'Permission').objects.filter(content_type__app_label='search')
    for action in ACTIONS:
        codename = f'{action}_{old}'.replace(' ', '')
        renamed = {'codename': f'{action}_{new}'.replace(' ', ''), 'name': f'Can {action} {new}'}
        permissions.filter(codename=codename).update(**renamed)


def rename_names(schema_editor, names):
    """Rename what PostgreSQL named after the table and the column; SQLite has no such names."""
    if schema_editor.connection.vendor != 'postgresql':
        return
    quote = schema_editor.quote_name
    with schema_editor.connection.cursor() as cursor:
        for old, new in names:
            cursor.execute(
                "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE starts_with(conname, %s) "
                "AND connamespace = current_schema()::regnamespace", [old]
            )
            for table, name in cursor.fetchall():
                renamed = name.replace(old, new, 1)
                schema_editor.execute(f'ALTER TABLE {table} RENAME CONSTRAINT {quote(name)} TO {quote(renamed)}')
            cursor.execute("SELECT sequencename FROM pg_sequences WHERE schemaname = current_schema() "
                           "AND starts_with(sequencename, %s)", [old])
            for (name,) in cursor.fetchall():
                schema_editor.execute(f'ALTER SEQUENCE {quote(name)} RENAME TO {quote(name.replace(old, new, 1))}')


def forwards(apps, schema_editor):
    rename_grants(apps, 'space', 'index partition')
    rename_names(schema_editor, NAMES)


def backwards(apps, schema_editor):
    rename_grants(apps, 'index partition', 'space')
    rename_names(schema_editor, [(new, old) for old, new in NAMES])


class Migration(migrations.Migration):

    dependencies = [
        ('auth', '0001_initial'),
        ('contenttypes', '0002_remove_content_type_name'),
        ('search', '0003_covering_entries'),
    ]

    operations = [
        migrations.RenameModel('Space', 'IndexPartition'),
        migrations.RenameField('passage', 'space_id', 'partition_id'),
        migrations.RunPython(forwards, backwards),
    ]
