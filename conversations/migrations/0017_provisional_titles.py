from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("conversations", "0016_access_by_key"),
    ]

    operations = [
        # SQLite adds a column at once only if it has no default in Python.
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.AddField(
                    model_name="conversation",
                    name="title_is_provisional",
                    field=models.BooleanField(db_default=models.Value(False), editable=False, null=True),
                ),
            ],
            state_operations=[
                migrations.AddField(
                    model_name="conversation",
                    name="title_is_provisional",
                    field=models.BooleanField(db_default=models.Value(False), default=False, editable=False, null=True),
                ),
            ],
        ),
    ]
