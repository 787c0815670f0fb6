from django.db import migrations, models

from accounts.migration_operations import EnsureIndex


class Migration(migrations.Migration):
    """Adds a column to an index that the first versions of 0001 made without it."""

    dependencies = [
        ('completions', '0005_runs_by_model'),
    ]

    operations = [
        EnsureIndex(
            model_name='run',
            index=models.Index(condition=models.Q(('state', 'running')), fields=['user', 'state'], name='run_live_by_user'),
        ),
    ]
