from django.db import migrations

from completions.run_metadata import metadata_rows

BATCH = 500


def fill(apps, schema_editor):
    """Copy the metadata of stored answers from `parameters`, in batches; an interrupted migration does it again."""
    Run, RunMetadata = (apps.get_model('completions', name) for name in ('Run', 'RunMetadata'))
    using = schema_editor.connection.alias
    left = Run.objects.using(using).filter(message__isnull=False, parameters__has_key='metadata').order_by('id')
    left = left.only('id', 'user_id', 'parameters')
    batch = list(left[:BATCH])
    while batch:
        rows = [row for run in batch for row in metadata_rows(run.pk, run.user_id, run.parameters)]
        pairs = [RunMetadata(run_id=row.pop('run'), **row) for row in rows]
        RunMetadata.objects.using(using).bulk_create(pairs, batch_size=BATCH, ignore_conflicts=True)
        batch = list(left.filter(id__gt=batch[-1].pk)[:BATCH])


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('completions', '0013_stored_answers'),
    ]

    operations = [
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
