from django.db import migrations, models

FIRST = ['previous_1', 'id', 'previous_2', 'length']
SECOND = ['previous_2', 'id', 'previous_1', 'length']
NAMES = [
    ('search_entry_after', 'search_entry_previous_1', FIRST),
    ('search_entry_after_that', 'search_entry_previous_2', SECOND),
]


def forwards(apps, schema_editor):
    for old, new, fields in NAMES:
        rename_index(apps, schema_editor, old, new, fields)


def backwards(apps, schema_editor):
    for old, new, fields in NAMES:
        rename_index(apps, schema_editor, new, old, fields)


def rename_index(apps, schema_editor, old, new, fields):
    """Rename an index whose columns the database has renamed already: RenameIndex would still look for the old ones."""
    entry = apps.get_model('search', 'Entry')
    schema_editor.rename_index(entry, models.Index(fields=fields, name=old), models.Index(fields=fields, name=new))


class Migration(migrations.Migration):

    dependencies = [
        ('search', '0005_semantic_stage'),
    ]

    operations = [
        migrations.RenameField('entry', 'before', 'previous_1'),
        migrations.RenameField('entry', 'before_that', 'previous_2'),
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(forwards, backwards)],
            state_operations=[
                migrations.RemoveIndex('entry', 'search_entry_after'),
                migrations.RemoveIndex('entry', 'search_entry_after_that'),
                migrations.AddIndex('entry', models.Index(fields=FIRST, name='search_entry_previous_1')),
                migrations.AddIndex('entry', models.Index(fields=SECOND, name='search_entry_previous_2')),
            ],
        ),
    ]
