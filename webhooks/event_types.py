"""The types of events, by OpenAI's names where it has one."""

from django.db.models import TextChoices


class EventType(TextChoices):
    RESPONSE_COMPLETED = "response.completed", "response.completed"
    RESPONSE_INCOMPLETE = "response.incomplete", "response.incomplete"
    RESPONSE_FAILED = "response.failed", "response.failed"
    RESPONSE_CANCELLED = "response.cancelled", "response.cancelled"
    CONVERSATION_CREATED = "conversation.created", "conversation.created"
    BUDGET_WARNING = "budget.warning", "budget.warning"
    IMPORT_FINISHED = "import.finished", "import.finished"
    TEST = "webhook.test", "webhook.test"


SUBSCRIBABLE = [choice for choice in EventType.choices if choice[0] != EventType.TEST]
"""What an endpoint can be told of; a test is sent on request."""
RESPONSES = frozenset(each for each in EventType if each.startswith("response."))
