"""When Django rebuilds a table on SQLite, its triggers, triggers that mention it, and raw SQL indexes survive."""

from __future__ import annotations

from django.db import connection, models
from django.test.utils import isolate_apps

from chatservice.testing import KeptTablesTestCase, tried_on


@tried_on("sqlite")
class RebuiltTableTest(KeptTablesTestCase):
    def names(self, kind: str) -> set[str]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM sqlite_master WHERE type = %s AND name LIKE '%%pet%%'", [kind])
            return {name for (name,) in cursor.fetchall() if not name.startswith("sqlite_")}

    @isolate_apps("accounts")
    def test_what_no_model_knows_of_is_kept_and_nothing_else(self):
        class Pet(models.Model):
            name = models.CharField(max_length=9, db_index=True)
            age = models.IntegerField()

            class Meta:
                app_label = "accounts"

        class Owner(models.Model):
            class Meta:
                app_label = "accounts"

        with connection.schema_editor() as editor:
            for model in (Pet, Owner):
                editor.create_model(model)
        self.addCleanup(self.drop, Pet, Owner)
        with connection.cursor() as cursor:
            cursor.execute("CREATE INDEX pet_age ON accounts_pet (age)")
            cursor.execute(
                "CREATE TRIGGER pet_ages AFTER INSERT ON accounts_pet BEGIN UPDATE accounts_pet SET age = 7; END"
            )
            cursor.execute(
                "CREATE TRIGGER pet_gone AFTER DELETE ON accounts_owner BEGIN DELETE FROM accounts_pet "
                "WHERE name <> '100%%'; END",
                [],
            )
        unindexed = models.CharField(max_length=9)
        unindexed.set_attributes_from_name("name")
        with connection.schema_editor() as editor:
            editor.alter_field(Pet, Pet._meta.get_field("name"), unindexed)
        self.assertEqual(self.names("index"), {"pet_age"})
        self.assertEqual(self.names("trigger"), {"pet_ages", "pet_gone"})
        Pet.objects.create(name="Rex", age=1)
        self.assertEqual(list(Pet.objects.values_list("age", flat=True)), [7])
        Owner.objects.create().delete()
        self.assertFalse(Pet.objects.exists())

    def drop(self, *tables: type[models.Model]) -> None:
        with connection.schema_editor() as editor:
            for model in tables:
                editor.delete_model(model)
