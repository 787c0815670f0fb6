from django.db import migrations

from completions.token_counts import token_counts

BATCH = 500


def fill(apps, schema_editor):
    """Copy the token counts from `usage`, in batches; an interrupted migration continues where it stopped."""
    Run = apps.get_model('completions', 'Run')
    left = Run.objects.using(schema_editor.connection.alias).filter(
        usage__isnull=False, input_tokens=None, output_tokens=None
    )
    left = left.only('id', 'usage').order_by('id')
    batch = list(left[:BATCH])
    while batch:
        for run in batch:
            counts = token_counts(run.usage)
            for name, count in counts.items():
                setattr(run, name, count)
        Run.objects.using(schema_editor.connection.alias).bulk_update(batch, list(counts))
        batch = list(left.filter(id__gt=batch[-1].pk)[:BATCH])


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('completions', '0008_run_key_request_and_tokens'),
    ]

    operations = [
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
