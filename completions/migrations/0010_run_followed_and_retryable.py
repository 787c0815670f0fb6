from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('completions', '0009_fill_token_counts'),
    ]

    operations = [
        migrations.AddField(
            model_name='run',
            name='followed_until',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='run',
            name='retryable',
            field=models.BooleanField(null=True),
        ),
    ]
