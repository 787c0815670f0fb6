from django.db import migrations

from conversations.append_only import protect


class Migration(migrations.Migration):
    """Recreate the triggers: entries older than a year may be deleted."""

    dependencies = [
        ('conversations', '0006_conversation_recall'),
    ]

    operations = [
        migrations.RunPython(protect, migrations.RunPython.noop),
    ]
