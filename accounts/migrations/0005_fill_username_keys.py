"""Fill username_key; of two accounts with the same key the older gets the plain one. Set the maker of guests' accounts.

In batches, each in a transaction of its own: it can be interrupted and run again.
"""

from django.db import migrations, transaction

from accounts.usernames import duplicate_key, username_key

BATCH = 500
SHARED_GUEST = ('guest', 'guest (anonymous)')


def fill(apps, schema_editor):
    User = apps.get_model('accounts', 'User')
    while fill_batch(User):
        pass
    name_maker_of_guests(User)


@transaction.atomic
def fill_batch(User):
    """Fill some of the oldest accounts without a key; ids sort by time, so an older account never comes later."""
    users = list(User.objects.filter(username_key=None).order_by('id').only('id', 'username')[:BATCH])
    keys = {user.pk: username_key(user.username) for user in users}
    taken = set(User.objects.filter(username_key__in=set(keys.values())).values_list('username_key', flat=True))
    for user in users:
        key = keys[user.pk]
        user.username_key = duplicate_key(user.username, user.pk) if key in taken else key
        taken.add(key)
    User.objects.bulk_update(users, ['username_key'])
    return len(users)


def name_maker_of_guests(User):
    guest = User.objects.filter(guest_made=True, username__in=SHARED_GUEST).order_by('id').first()
    if guest is not None:
        made = User.objects.filter(guest_made=True, created_by=None).exclude(pk=guest.pk)
        made.update(created_by=guest, limits_owner=guest)


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('accounts', '0004_makers_and_username_keys'),
    ]

    operations = [
        migrations.RunPython(fill, migrations.RunPython.noop, elidable=True),
    ]
