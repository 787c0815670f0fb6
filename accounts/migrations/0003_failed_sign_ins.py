
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0002_secret_fingerprints'),
    ]

    operations = [
        migrations.CreateModel(
            name='PasswordDelay',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('account', models.CharField(max_length=64)),
                ('device', models.CharField(blank=True, max_length=32)),
                ('failures', models.PositiveIntegerField(default=1)),
                ('until', models.FloatField()),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('account', 'device'), name='password_delay_of_a_device')],
            },
        ),
        migrations.CreateModel(
            name='FailedSignIn',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('network', models.CharField(max_length=50)),
                ('is_reported', models.BooleanField(default=False)),
                ('attempts', models.PositiveIntegerField(default=1)),
                ('first_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('last_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='failed_sign_ins', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-last_at'],
                'constraints': [models.UniqueConstraint(fields=('user', 'network', 'is_reported'), name='failed_sign_in_of_a_network')],
            },
        ),
    ]
