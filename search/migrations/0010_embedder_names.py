from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("search", "0009_texts_of_files")]

    operations = [
        migrations.AlterField(
            model_name="embedder",
            name="name",
            field=models.CharField(max_length=2000, unique=True),
        ),
    ]
