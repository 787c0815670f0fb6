
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('completions', '0006_first_version'),
    ]

    operations = [
        migrations.AddField(
            model_name='run',
            name='choices',
            field=models.PositiveSmallIntegerField(db_default=1, default=1, null=True),
        ),
    ]
