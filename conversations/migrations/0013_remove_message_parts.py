import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('conversations', '0012_fill_message_parts'),
    ]

    operations = [
        migrations.RemoveField(
            model_name='message',
            name='parts',
        ),
        migrations.AlterField(
            model_name='messagepart',
            name='message',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='parts', to='conversations.message'),
        ),
    ]
