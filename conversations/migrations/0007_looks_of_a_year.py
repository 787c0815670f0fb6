from django.db import migrations

from conversations.append_only import protect


class Migration(migrations.Migration):
    """The triggers anew: what is older than a year may go."""

    dependencies = [
        ('conversations', '0006_conversation_recall'),
    ]

    operations = [
        migrations.RunPython(protect, migrations.RunPython.noop),
    ]
