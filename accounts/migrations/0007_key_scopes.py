import django.db.models.deletion
from django.db import migrations, models

SERVICE = {
    'db_default': models.Value(False),
    'help_text': 'nobody signs in as it: it has no password, only keys, which staff make',
    'null': True,
    'verbose_name': 'service account',
}


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0006_unique_username_keys'),
    ]

    operations = [
        migrations.AddField(
            model_name='apikey',
            name='networks',
            field=models.JSONField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='apikey',
            name='replaces',
            field=models.ForeignKey(editable=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='successors', to='accounts.apikey'),
        ),
        migrations.AddField(
            model_name='apikey',
            name='scopes',
            field=models.JSONField(blank=True, null=True),
        ),
        # SQLite adds a column at once only if it has no default in Python; it cannot copy this table.
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.AddField(
                    model_name='user',
                    name='is_service',
                    field=models.BooleanField(**SERVICE),
                ),
            ],
            state_operations=[
                migrations.AddField(
                    model_name='user',
                    name='is_service',
                    field=models.BooleanField(default=False, **SERVICE),
                ),
            ],
        ),
        migrations.CreateModel(
            name='ApiKeyUse',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField()),
                ('network', models.CharField(max_length=50)),
                ('key', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='uses', to='accounts.apikey')),
            ],
            options={
                'ordering': ['-day', 'network'],
                'indexes': [models.Index(fields=['day'], name='key_use_day')],
                'constraints': [models.UniqueConstraint(fields=('key', 'day', 'network'), name='key_use_of_a_day')],
            },
        ),
    ]
