from django.db import migrations, transaction

from conversations import chat_wire

BATCH = 200


def fill(apps, schema_editor):
    """Turn the column `parts` into rows, one batch per transaction; if interrupted, it continues where it stopped."""
    Message, MessagePart = (apps.get_model('conversations', name) for name in ('Message', 'MessagePart'))
    using = schema_editor.connection.alias
    left = Message.objects.using(using).filter(parts__isnull=False, has_parts=False).order_by('id')
    left = left.only('id', 'role', 'content', 'author', 'parts')
    batch = list(left[:BATCH])
    while batch:
        parts, changed = [], []
        for message in batch:
            if not isinstance(message.parts, dict) or not message.parts:
                continue
            given = {'content': message.content, **message.parts}
            wire = chat_wire.with_extras(message.role, message.content, message.author, given)
            found = chat_wire.split(wire)
            if not found.parts:
                continue
            message.has_parts, message.content = True, message.content or found.content
            changed.append(message)
            parts += [
                MessagePart(
                    message_id=message.pk, position=position, kind=part.kind, text=part.text, call_id=part.call_id,
                    name=part.name, data=part.data,
                )
                for position, part in enumerate(found.parts)
            ]
        with transaction.atomic(using=using):
            MessagePart.objects.using(using).bulk_create(parts, batch_size=BATCH)
            Message.objects.using(using).bulk_update(changed, ['has_parts', 'content'])
        batch = list(left.filter(id__gt=batch[-1].pk)[:BATCH])


def empty(apps, schema_editor):
    """Copy the parts back into the column, one batch per transaction."""
    Message, MessagePart = (apps.get_model('conversations', name) for name in ('Message', 'MessagePart'))
    using = schema_editor.connection.alias
    left = Message.objects.using(using).filter(has_parts=True).only('id', 'role', 'content', 'author').order_by('id')
    while batch := list(left[:BATCH]):
        ids = [message.pk for message in batch]
        parts = {pk: [] for pk in ids}
        for part in MessagePart.objects.using(using).filter(message_id__in=ids):
            parts[part.message_id].append(part)
        for message in batch:
            wire = chat_wire.join(message.role, message.author, parts[message.pk])
            if wire.get('content') == '':  # its text is that of the refusal
                message.content = ''
            message.parts = chat_wire.extras_of(
                wire, role=message.role, content=message.content, author=message.author
            )
            message.has_parts = False
        with transaction.atomic(using=using):
            Message.objects.using(using).bulk_update(batch, ['parts', 'content', 'has_parts'])
            MessagePart.objects.using(using).filter(message_id__in=ids).delete()


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('conversations', '0011_message_parts'),
    ]

    operations = [
        migrations.RunPython(fill, empty),
    ]
