import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('conversations', '0010_access_log'),
    ]

    operations = [
        migrations.AddField(
            model_name='message',
            name='has_parts',
            field=models.BooleanField(db_default=False, default=False, editable=False),
        ),
        migrations.CreateModel(
            name='MessagePart',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.PositiveIntegerField()),
                ('kind', models.CharField(choices=[('text', 'Text'), ('refusal', 'Refusal'), ('reasoning', 'Reasoning'), ('tool_call', 'Tool Call'), ('tool_result', 'Tool Result'), ('image', 'Image'), ('file', 'File'), ('audio', 'Audio'), ('citation', 'Citation'), ('other', 'Other')], max_length=12)),
                ('text', models.TextField(blank=True)),
                ('call_id', models.CharField(blank=True, max_length=200)),
                ('name', models.CharField(blank=True, max_length=200)),
                ('data', models.JSONField(blank=True, null=True)),
                # The column `parts` keeps this name until 0013.
                ('message', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='conversations.message')),
            ],
            options={
                'ordering': ['position'],
                'constraints': [models.UniqueConstraint(fields=('message', 'position'), name='message_part_position_unique')],
            },
        ),
    ]
