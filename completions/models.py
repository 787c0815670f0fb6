"""Runs, their metadata, the chunks of text they stored, and the keys by which a repeated request finds its run."""

from __future__ import annotations

import datetime as dt
import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.access import OwnedQuerySet
from accounts.models import User
from conversations.models import Conversation, Message
from foundation.ids import uuid7

STORED = Q(state="complete", message__isnull=False)


class RunQuerySet(OwnedQuerySet["Run"]):
    owner_lookup = "user"

    def running(self) -> RunQuerySet:
        return self.filter(state=Run.State.RUNNING)

    def queued(self) -> RunQuerySet:
        return self.filter(state=Run.State.QUEUED)

    def unfinished(self) -> tuple[RunQuerySet, RunQuerySet]:
        """Return what is queued, and what is running: each has a partial index, which both together cannot use."""
        return self.queued(), self.running()

    def stored(self) -> RunQuerySet:
        """Return those whose answer is stored and whole, or was cut by its length: these can be read again."""
        return self.filter(state=Run.State.COMPLETE, message__isnull=False)

    def to_stop(self) -> list[uuid.UUID]:
        """Return the ids of what is not over, queued runs first: none begins because the one before it is stopped."""
        return [pk for runs in self.unfinished() for pk in runs.values_list("pk", flat=True)]


class Run(models.Model):
    """One generation: who asked which model, who is producing it, and how it ended.

    `worker` is the producing process, whose lease ends at `lease_until` (Unix seconds by the database's clock); `epoch`
    fences a process that lost it. `message` and `conversation` are None for a call that opted out of history. An
    `exclusive` run is the only live run of its conversation. `address` is stored only for guests, whose limits count by
    address, in the form that is counted. `choices` is the number of answers asked for at once (`n`). `api_key_id` is
    not a foreign key, since accepting would lock the key's row; `request_id` is the id in the response to the request.
    The token counts are those in `usage`, None where they are missing; with `is_estimate` the upstream sent none, and
    they are estimated. Until a run is over, `input_tokens` is an estimate of what its request says. `cost` is in
    millionths of the currency, None without a known price. Until `followed_until`, a process other than the producing
    one is known to read it. A `retryable` run failed before the upstream sent anything: the same
    Idempotency-Key starts a new one. `echo` is what the API that took the request shows of it again with its answer;
    the chunks of such a run are kept as long as the run, since its stream can be read again. A queued run waits for the
    run before it and has no worker; `request` holds what it needs in order to start, and is None for all other runs.
    """

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        COMPLETE = "complete"
        CANCELLED = "cancelled"
        INTERRUPTED = "interrupted"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    message = models.OneToOneField(Message, null=True, on_delete=models.CASCADE, related_name="run")
    conversation = models.ForeignKey(Conversation, null=True, on_delete=models.CASCADE, related_name="runs")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="runs")
    address = models.CharField(max_length=45, blank=True)
    api_key_id = models.UUIDField(null=True)
    request_id = models.CharField(max_length=128, blank=True, default="", db_default="")
    upstream = models.CharField(max_length=100)
    model = models.CharField(max_length=200)
    parameters = models.JSONField(default=dict)
    state = models.CharField(max_length=12, choices=State, default=State.RUNNING)
    request = models.JSONField(null=True)
    echo = models.JSONField(null=True)
    exclusive = models.BooleanField(default=True)
    # Null is never written: a nullable column with a default in the database can be added without rewriting the table.
    choices = models.PositiveSmallIntegerField(null=True, default=1, db_default=1)
    epoch = models.PositiveIntegerField(default=1)
    worker = models.CharField(max_length=120)
    lease_until = models.FloatField()
    cancel_requested_at = models.DateTimeField(null=True)
    followed_until = models.DateTimeField(null=True)
    retryable = models.BooleanField(null=True)
    envelope = models.JSONField(null=True)
    closing = models.JSONField(null=True)
    usage = models.JSONField(null=True)
    input_tokens = models.BigIntegerField(null=True)
    cached_tokens = models.BigIntegerField(null=True)
    output_tokens = models.BigIntegerField(null=True)
    reasoning_tokens = models.BigIntegerField(null=True)
    is_estimate = models.BooleanField(null=True)
    cost = models.BigIntegerField(null=True)
    finish_reason = models.CharField(max_length=40, blank=True)
    # Which messages were quoted to the model: [{"conversation_id", "message_id", "number"}]; None if recall was not
    # requested.
    recalled = models.JSONField(null=True)
    error_code = models.CharField(max_length=60, blank=True)
    error_message = models.CharField(max_length=600, blank=True)
    http_status = models.PositiveSmallIntegerField(default=200)
    # How many seconds after its end it makes sense to ask again; None if nobody said.
    retry_after = models.PositiveIntegerField(null=True)
    created_at = models.DateTimeField(default=timezone.now)
    # When one that was queued began; None for all others, which begin when they are made.
    started_at = models.DateTimeField(null=True)
    first_token_at = models.DateTimeField(null=True)
    # When the text began, after any reasoning; None if there was none.
    first_text_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["conversation"],
                condition=Q(state="running", exclusive=True),
                name="run_one_at_a_time",
            ),
        ]
        indexes = [
            # Concurrency limits count the live runs of a user, or of a guest's address, inside the accept transaction.
            # (With the state as a column of this index, SQLite would use the foreign key's index and read the whole
            # history.)
            models.Index(fields=["user", "state"], condition=Q(state="running"), name="run_live_by_user"),
            models.Index(fields=["address"], condition=Q(state="running"), name="run_live_by_address"),
            # Heartbeats and the reaper.
            models.Index(fields=["worker"], condition=Q(state="running"), name="run_live_by_worker"),
            # What waits in a conversation, and anywhere: the sweep looks for it every few seconds.
            models.Index(fields=["conversation", "state"], condition=Q(state="queued"), name="run_queued"),
            models.Index(fields=["finished_at"], name="run_finished"),
            # The admin's list of runs with one error code, and the dashboard's counts of all codes.
            models.Index(fields=["error_code", "-id"], condition=~Q(error_code=""), name="run_errors"),
            # The admin's list of one model's runs.
            models.Index(fields=["model", "-id"], name="run_by_model"),
            # The list of one user's stored answers, oldest or newest first, of all models or of one.
            models.Index(fields=["user", "id"], condition=STORED, name="run_stored"),
            models.Index(fields=["user", "model", "id"], condition=STORED, name="run_stored_by_model"),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.state}"

    @property
    def retry_at(self) -> dt.datetime | None:
        """When it makes sense to ask again; None if nobody said."""
        if self.retry_after is None or self.finished_at is None:
            return None
        return self.finished_at + dt.timedelta(seconds=self.retry_after)

    @property
    def reasoning_seconds(self) -> float | None:
        """How long the model thought before its text began, or the run ended without any; None if not known."""
        until = self.first_text_at or (self.finished_at if self.state == self.State.COMPLETE else None)
        return (until - self.first_token_at).total_seconds() if until and self.first_token_at else None

    @property
    def is_over(self) -> bool:
        return self.state not in UNFINISHED


UNFINISHED = (Run.State.QUEUED, Run.State.RUNNING)


class RunMetadata(models.Model):
    """One pair of a call's metadata, by which its answer is looked up. Derived from `Run.parameters`.

    `user_id` repeats the run's, for the index.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="metadata_pairs", db_index=False)
    user_id = models.UUIDField()
    key = models.CharField(max_length=64)
    value = models.CharField(max_length=512)

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["run", "key"], name="run_metadata_unique")]
        # One user's answers with this pair, in the order of their list.
        indexes = [models.Index(fields=["user_id", "key", "value", "run"], name="run_metadata_pair")]

    def __str__(self) -> str:
        return self.key


class Chunk(models.Model):
    """One stored chunk of a run's answer; `end` is the text's length, in code points, after it."""

    pk = models.CompositePrimaryKey("run_id", "seq")
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="chunks", db_index=False)
    seq = models.PositiveIntegerField()
    end = models.PositiveIntegerField()
    text = models.TextField(blank=True)
    wire = models.JSONField(null=True)


class IdempotencyKey(models.Model):
    """A client's name for a request: the same key and body always get the same run, so nothing is billed twice.

    Deleted after IDEMPOTENCY_DAYS, or with its run.
    """

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="idempotency_key_unique")]
        # Finds the keys that are old enough to delete.
        indexes = [models.Index(fields=["created_at"], name="idempotency_key_created")]
