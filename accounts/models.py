"""Users, their keys, limits of their own, and the counters behind all limits."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser, Group, UserManager
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Exists, F, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from accounts.usernames import NOT_AVAILABLE, duplicate_key, username_key, validate_username
from foundation.ids import uuid7

SIGNS_IN_NEVER = "Nobody signs in as a service account: it has no password."
NOT_STAFF = "A service account cannot be staff, because nobody signs in as it."


class AccountQuerySet(models.QuerySet["User"]):
    def named(self, username: str) -> User | None:
        """Return the account named `username` in any spelling, by one look-up; an exact match takes precedence."""
        found = list(self.filter(Q(username=username) | Q(username_key=username_key(username)))[:2])
        return next((user for user in found if user.username == username), found[0] if found else None)

    def sharing_limits(self, user_id: uuid.UUID) -> AccountQuerySet:
        """Return the account that answers for this one and all others that it answers for: they share their limits."""
        counted = Subquery(self.filter(pk=user_id).values_list(Coalesce("limits_owner_id", "pk"))[:1])
        return self.filter(Q(pk=counted) | Q(limits_owner_id=counted))


class AccountManager(UserManager["User"]):
    def get_queryset(self) -> AccountQuerySet:
        return AccountQuerySet(self.model, using=self._db)

    def named(self, username: str) -> User | None:
        return self.get_queryset().named(username)

    def sharing_limits(self, user_id: uuid.UUID) -> AccountQuerySet:
        return self.get_queryset().sharing_limits(user_id)

    def get_by_natural_key(self, username: str | None) -> User:
        """Return the account with the name typed into a sign-in form; Django calls this."""
        if username is None or (user := self.named(username)) is None:
            raise self.model.DoesNotExist
        return user


class User(AbstractUser):
    """An account. `guest_made` marks those that callers without credentials created and may use.

    `limits_owner` is the account that answers for one made by somebody who is not staff: the two share its limits, and
    deactivating or erasing it deactivates the other too. Usernames are compared by `username_key`. Nobody signs in as
    an account that `is_service`.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    guest_made = models.BooleanField(default=False, editable=False)
    username_key = models.CharField(max_length=500, null=True, editable=False)  # noqa: DJ001  see Meta
    created_by = models.ForeignKey(
        "self", null=True, on_delete=models.SET_NULL, related_name="created_accounts", editable=False
    )
    limits_owner = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="+", editable=False)
    # Nullable, because SQLite would have to copy the table, which triggers that read it prevent; never NULL.
    is_service = models.BooleanField(
        "service account",
        null=True,
        default=False,
        db_default=models.Value(False),
        help_text="nobody signs in as it: it has no password, only keys, which staff make",
    )
    # What the page's new chats begin with, if it is among what the user may use: completions/preferred_model.py says.
    preferred_model = models.CharField(max_length=200, null=True, editable=False)  # noqa: DJ001  SQLite, as above
    # What the user's new conversations begin with: conversations/default_generation.py. It is content.
    default_generation = models.JSONField(null=True, editable=False)
    # When staff last stopped all activity of this user: every process closes what was open before that time.
    stopped_at = models.DateTimeField(null=True, editable=False)

    objects: ClassVar[AccountManager] = AccountManager()

    class Meta(AbstractUser.Meta):
        constraints = [
            # For signing in, and for checking whether a name is free. Not `unique=True`: SQLite would have to copy the
            # table, which triggers that read it prevent. Rows that no migration has filled yet have NULL.
            models.UniqueConstraint(F("username_key"), name="user_one_of_a_name"),
        ]

    def __str__(self) -> str:
        return self.username

    def set_password(self, raw_password: str | None) -> None:
        if self.is_service and raw_password is not None:
            raise ValidationError(SIGNS_IN_NEVER, code="service")
        super().set_password(raw_password)

    def clean(self) -> None:
        super().clean()
        if self.is_service and (self.is_staff or self.is_superuser):
            raise ValidationError({"is_staff": ValidationError(NOT_STAFF, code="service")})
        if self._has_new_key():
            key = username_key(self.username)
            try:
                validate_username(self.username)
                if type(self).objects.filter(username_key=key).exclude(pk=self.pk).exists():
                    raise ValidationError(NOT_AVAILABLE, code="unique")
            except ValidationError as error:
                raise ValidationError({"username": error}) from error

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self._has_new_key():
            self.username_key = username_key(self.username)
            if (fields := kwargs.get("update_fields")) is not None and "username" in fields:
                kwargs["update_fields"] = {*fields, "username_key"}
        super().save(*args, **kwargs)

    def _has_new_key(self) -> bool:
        kept = (username_key(self.username or ""), duplicate_key(self.username or "", self.pk))
        return bool(self.username) and self.username_key not in kept


class AccountErasure(models.Model):
    """An account that is being erased: nobody can use it any more, and what it holds is deleted in steps.

    `total` is what it held at the request, as `held_by` in `erasing.py` counts. `claimed_until` is when the claim of
    the process that takes a step expires, in Unix seconds of the database.
    """

    user = models.OneToOneField(User, primary_key=True, on_delete=models.CASCADE, related_name="erasure")
    requested_at = models.DateTimeField(default=timezone.now)
    total = models.PositiveBigIntegerField(default=0)
    is_log_anonymous = models.BooleanField(default=False)
    claimed_until = models.FloatField(default=0)

    def __str__(self) -> str:
        return str(self.user_id)


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def usable(self) -> ApiKeyQuerySet:
        """Return the keys that work: neither revoked nor expired, and of an active account."""
        return self.filter(revoked_at=None, user__is_active=True).filter(
            Q(expires_at=None) | Q(expires_at__gt=timezone.now())
        )

    def counted(self) -> ApiKeyQuerySet:
        """Return those that count against LIMIT_KEYS_PER_USER: usable, and without a usable successor."""
        return self.usable().filter(~Exists(ApiKey.objects.usable().filter(replaces=OuterRef("pk"))))


class ApiKey(models.Model):
    """A bearer key. Only the HMAC digest of its secret is stored; the secret is shown once.

    `issued_by` is the key that made this one and that it must not outlive: it is revoked together with it. The key that
    it `replaces` works for a while longer. Without `scopes` it has all, without `networks` it works from anywhere.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100, blank=True)
    may_change_credentials = models.BooleanField(
        default=False, help_text="may change username and password, and make keys that outlive it"
    )
    issued_by = models.ForeignKey(
        "self", null=True, on_delete=models.SET_NULL, related_name="issued_keys", editable=False
    )
    replaces = models.ForeignKey(
        "self", null=True, on_delete=models.SET_NULL, related_name="successors", editable=False
    )
    scopes = models.JSONField(null=True, blank=True)
    networks = models.JSONField(null=True, blank=True)
    kid = models.CharField(max_length=8, unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name or 'key'} (cb_{self.kid}…)"


class SubjectLimits(models.Model):
    """What a group, user or key may do where it differs from the settings; null leaves it to them, 0 is any number.

    A group's limits hold for each member by itself. `models_allowed` is a list of patterns of
    model names. `subject_limits.py` says which row applies to whom.
    """

    group = models.OneToOneField(Group, null=True, blank=True, on_delete=models.CASCADE, related_name="limits")
    user = models.OneToOneField(User, null=True, blank=True, on_delete=models.CASCADE, related_name="limits")
    key = models.OneToOneField(ApiKey, null=True, blank=True, on_delete=models.CASCADE, related_name="limits")
    starts_per_minute = models.PositiveIntegerField(
        null=True, blank=True, help_text="answers started in a minute; 0 is any number, empty is the setting"
    )
    runs_at_once = models.PositiveIntegerField(
        null=True, blank=True, verbose_name="answers at once", help_text="answers that are written at the same time"
    )
    tokens_per_minute = models.PositiveIntegerField(
        null=True, blank=True, help_text="tokens read and written in a minute, counted when answers end"
    )
    reads_per_minute = models.PositiveIntegerField(
        null=True, blank=True, help_text="requests in a minute that start no answer"
    )
    models_allowed = models.JSONField(
        null=True, blank=True, help_text='a list of patterns, such as ["gpt-4o*", "echo"]'
    )
    search = models.BooleanField(null=True, blank=True, verbose_name="may search")

    class Meta:
        verbose_name_plural = "subject limits"
        constraints = [
            models.CheckConstraint(
                condition=Q(group__isnull=False, user__isnull=True, key__isnull=True)
                | Q(group__isnull=True, user__isnull=False, key__isnull=True)
                | Q(group__isnull=True, user__isnull=True, key__isnull=False),
                name="limits_of_one_subject",
                violation_error_message="Choose one group, one user or one key.",
            )
        ]

    def __str__(self) -> str:
        # By ids: the admin's log keeps this when an account is erased.
        if self.group is not None:
            return f"limits of the group {self.group}"
        return f"limits of the key {self.key_id}" if self.key_id else f"limits of the user {self.user_id}"

    def clean(self) -> None:
        super().clean()
        if self.user is not None and self.user.guest_made:
            raise ValidationError("The limits of guests are settings (LIMIT_GUEST_…).")
        if self.user is not None and self.user.limits_owner_id is not None:
            raise ValidationError(f"This account shares the limits of {self.user.limits_owner}.")
        patterns = self.models_allowed
        if patterns is not None and not (isinstance(patterns, list) and all(type(each) is str for each in patterns)):
            raise ValidationError({"models_allowed": "This must be a list of patterns, each in quotation marks."})


class GroupOwner(models.Model):
    """Somebody who may see what a group uses, but none of its members' content."""

    group = models.ForeignKey(Group, on_delete=models.CASCADE, related_name="owners")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="owned_groups")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["group", "user"], name="group_owner_once")]

    def __str__(self) -> str:
        return f"owner {self.user_id}"


class ApiKeyUse(models.Model):
    """On which day (UTC) a key was used from which network. Written by `key_uses.py`."""

    key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, related_name="uses")
    day = models.DateField()
    network = models.CharField(max_length=50)

    class Meta:
        ordering = ["-day", "network"]
        constraints = [models.UniqueConstraint(fields=["key", "day", "network"], name="key_use_of_a_day")]
        indexes = [models.Index(fields=["day"], name="key_use_day")]  # for pruning

    def __str__(self) -> str:
        return f"{self.day}: {self.network}"


class BrowserSession(models.Model):
    """A browser that somebody is signed in with, as `browser_sessions.py` shows it to them: no address, no version.

    `network` is where it was used last. Without a constraint: the version before does not know these rows, and deletes
    sessions.
    """

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="browser_sessions")
    session = models.OneToOneField("sessions.Session", on_delete=models.CASCADE, related_name="+", db_constraint=False)
    browser = models.CharField(max_length=50)
    network = models.CharField(max_length=50)
    signed_in_at = models.DateTimeField(default=timezone.now)
    last_used_on = models.DateField()

    class Meta:
        ordering = ["-signed_in_at"]

    def __str__(self) -> str:
        return self.browser


class FailedSignIn(models.Model):
    """Wrong passwords tried for an account from one network, for its owner to see.

    `is_reported` is set when the owner signs in after them; the next sign-in deletes them.
    """

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="failed_sign_ins")
    network = models.CharField(max_length=50)
    is_reported = models.BooleanField(default=False)
    attempts = models.PositiveIntegerField(default=1)
    first_at = models.DateTimeField(default=timezone.now)
    last_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-last_at"]
        constraints = [
            models.UniqueConstraint(fields=["user", "network", "is_reported"], name="failed_sign_in_of_a_network")
        ]


class PasswordDelay(models.Model):
    """When the next password may be tried for an account: Unix seconds, by the database's clock.

    `account` is a hash of its name, whether or not the account exists. `device` is a browser that signed in to it
    before, or a user who is signed in; all others share the empty one. Written by `password_attempts.py`.
    """

    account = models.CharField(max_length=64)
    device = models.CharField(max_length=32, blank=True)
    failures = models.PositiveIntegerField(default=1)
    until = models.FloatField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "device"], name="password_delay_of_a_device")]


class RateWindow(models.Model):
    """How often something happened in one time window; `throttling.py` counts in it, atomically."""

    key = models.CharField(max_length=100, primary_key=True)
    window = models.BigIntegerField()
    count = models.BigIntegerField(default=0)


class SecretFingerprint(models.Model):
    """Which secret of the settings this database was used with, as a digest that does not reveal the secret."""

    name = models.CharField(max_length=40, primary_key=True)
    fingerprint = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return self.name
