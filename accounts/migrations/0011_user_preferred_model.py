from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0010_browser_sessions'),
    ]

    operations = [
        migrations.AddField(
            model_name='user',
            name='preferred_model',
            field=models.CharField(editable=False, max_length=200, null=True),
        ),
    ]
