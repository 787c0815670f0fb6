from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('search', '0004_index_partition'),
    ]

    operations = [
        migrations.AlterField(
            model_name='pendingmessage',
            name='stage',
            field=models.SmallIntegerField(choices=[(0, 'Text'), (1, 'Semantic')], default=0),
        ),
    ]
