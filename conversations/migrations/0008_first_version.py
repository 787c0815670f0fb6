from django.db import migrations, models

from accounts.migration_operations import EnsureIndex, EnsureModel


class Migration(migrations.Migration):
    """Create what the first versions of 0001 lacked: the table of to-dos, and an index of all digests."""

    dependencies = [
        ('conversations', '0007_looks_of_a_year'),
    ]

    operations = [
        EnsureModel('Todo'),
        EnsureIndex(
            model_name='message',
            index=models.Index(fields=['digest'], name='message_digest'),
        ),
    ]
