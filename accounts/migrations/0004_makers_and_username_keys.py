import accounts.models
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0003_failed_sign_ins'),
    ]

    operations = [
        migrations.AlterModelManagers(
            name='user',
            managers=[
                ('objects', accounts.models.AccountManager()),
            ],
        ),
        migrations.AddField(
            model_name='apikey',
            name='issued_by',
            field=models.ForeignKey(editable=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='issued_keys', to='accounts.apikey'),
        ),
        migrations.AddField(
            model_name='apikey',
            name='may_change_credentials',
            field=models.BooleanField(default=False, help_text='may change username and password, and make keys that outlive it'),
        ),
        migrations.AddField(
            model_name='user',
            name='created_by',
            field=models.ForeignKey(editable=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='created_accounts', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='user',
            name='limits_owner',
            field=models.ForeignKey(editable=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='user',
            name='stopped_at',
            field=models.DateTimeField(editable=False, null=True),
        ),
        # Without a constraint until every row has its own: see the next two migrations.
        migrations.AddField(
            model_name='user',
            name='username_key',
            field=models.CharField(editable=False, max_length=500, null=True),
        ),
    ]
