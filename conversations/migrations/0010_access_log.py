from functools import partial

from django.db import migrations

from conversations.append_only import protect, unprotect

# Codename and name of the permission: Django renames the content type with its model, but not these.
BEFORE = ('view_look', 'Can view look')
AFTER = ('view_accesslogentry', 'Can view access log entry')


def rename_permission(before, after, apps, schema_editor):
    """Rename the row that grants refer to; a new database has none yet."""
    permissions = apps.get_model('auth', 'Permission').objects.using(schema_editor.connection.alias)
    found = permissions.filter(content_type__app_label='conversations', codename=before[0])
    found.update(codename=after[0], name=after[1])


class Migration(migrations.Migration):

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
        ('contenttypes', '0002_remove_content_type_name'),
        ('conversations', '0009_stored_usage'),
    ]

    operations = [
        migrations.RunPython(unprotect, protect),
        migrations.RenameModel('Look', 'AccessLogEntry'),
        migrations.AlterModelOptions(
            name='accesslogentry',
            options={'default_permissions': ('view',), 'verbose_name': 'access log entry', 'verbose_name_plural': 'access log'},
        ),
        migrations.RenameIndex(
            model_name='accesslogentry',
            old_name='look_owner_recent',
            new_name='access_log_owner_recent',
        ),
        migrations.RunPython(protect, unprotect),
        migrations.RunPython(partial(rename_permission, BEFORE, AFTER), partial(rename_permission, AFTER, BEFORE)),
    ]
