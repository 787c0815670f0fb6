from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0011_user_preferred_model'),
    ]

    operations = [
        migrations.AddField(
            model_name='user',
            name='default_generation',
            field=models.JSONField(editable=False, null=True),
        ),
    ]
