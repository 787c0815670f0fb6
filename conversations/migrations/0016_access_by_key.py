from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("conversations", "0015_files_of_parts"),
    ]

    operations = [
        migrations.AlterField(
            model_name="accesslogentry",
            name="kind",
            field=models.CharField(
                choices=[("transcript", "Transcript"), ("search", "Search"), ("export", "Export"), ("key", "Key")],
                max_length=12,
            ),
        ),
    ]
