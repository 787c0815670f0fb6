from collections import Counter

from django.db import migrations

from usage.periods import day_of
from usage.row_ids import row_id

BATCH = 500
COUNTS = ('input_tokens', 'cached_tokens', 'output_tokens', 'reasoning_tokens')
UNFINISHED = ('queued', 'running')


def fill(apps, schema_editor):
    """Add up what was used before there was a ledger; costs were not known then. Done again, it changes nothing."""
    using = schema_editor.connection.alias
    Run = apps.get_model('completions', 'Run')
    DailyUsage = apps.get_model('usage', 'DailyUsage')
    if DailyUsage.objects.using(using).exists():
        return
    runs = Run.objects.using(using).exclude(state__in=UNFINISHED).exclude(finished_at=None)
    rows = runs.order_by().values_list(
        'finished_at', 'user_id', 'api_key_id', 'model', 'upstream', 'state',
        *COUNTS,
    )
    found = {}
    for at, user_id, key_id, model, upstream, state, *tokens in rows.iterator(chunk_size=2_000):
        row = found.setdefault((day_of(at), user_id, key_id, model, upstream[:100]), Counter())
        row.update(requests=1, unpriced=1, failed=int(state in ('failed', 'interrupted')))
        row.update({name: amount or 0 for name, amount in zip(COUNTS, tokens, strict=True)})
    groups = dict(
        apps.get_model('accounts', 'User').groups.through.objects.using(using)
        .order_by('-group__name').values_list('user_id', 'group_id')
    )
    made = []
    for key, amounts in found.items():
        day, user_id, key_id, model, upstream = key
        group_id = groups.get(user_id)
        made.append(
            DailyUsage(
                id=row_id(day, user_id, key_id, group_id, model, upstream), day=day, user_id=user_id,
                api_key_id=key_id, group_id=group_id, model=model, upstream=upstream, **amounts,
            )
        )
    DailyUsage.objects.using(using).bulk_create(made, batch_size=BATCH)


class Migration(migrations.Migration):

    dependencies = [
        ('completions', '0016_cost'),
        ('usage', '0002_ledger_and_budgets'),
    ]

    operations = [
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
