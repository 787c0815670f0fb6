from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('conversations', '0013_remove_message_parts'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name='conversation',
            name='conversation_owner_recent',
        ),
        migrations.RemoveIndex(
            model_name='message',
            name='message_digest',
        ),
        # SQLite adds a column at once only if it has no default in Python.
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.AddField(
                    model_name='conversation',
                    name='stateless',
                    field=models.BooleanField(db_default=models.Value(False), editable=False, null=True),
                ),
            ],
            state_operations=[
                migrations.AddField(
                    model_name='conversation',
                    name='stateless',
                    field=models.BooleanField(db_default=models.Value(False), default=False, editable=False, null=True),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name='conversation',
            index=models.Index(fields=['owner', '-updated_at', '-id', 'archived_at'], name='conversation_owner_newest'),
        ),
        migrations.AddIndex(
            model_name='conversation',
            index=models.Index(condition=models.Q(('stateless', False)), fields=['owner'], name='conversation_by_hand'),
        ),
        migrations.AddIndex(
            model_name='message',
            index=models.Index(condition=models.Q(('role', 'assistant'), models.Q(models.Q(('model', ''), _negated=True), ('source_id__isnull', False), _connector='OR')), fields=['digest', 'id'], name='message_answer'),
        ),
    ]
