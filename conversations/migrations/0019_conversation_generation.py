from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("conversations", "0018_pinned_conversations"),
    ]

    operations = [
        migrations.AddField(
            model_name="conversation",
            name="generation",
            field=models.JSONField(blank=True, null=True),
        ),
    ]
