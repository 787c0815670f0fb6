"""Users, their keys and the counters behind their limits."""

from __future__ import annotations

import uuid

import uuid_utils
from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import Q
from django.utils import timezone


def uuid7() -> uuid.UUID:
    """Return a new id that sorts by time."""
    return uuid.UUID(int=uuid_utils.uuid7().int)


class User(AbstractUser):
    """An account. `guest_made` marks the ones that callers without credentials created and may use."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    guest_made = models.BooleanField(default=False, editable=False)

    def __str__(self) -> str:
        return self.username


class ApiKeyQuerySet(models.QuerySet):
    def usable(self) -> ApiKeyQuerySet:
        return self.filter(revoked_at=None, user__is_active=True).filter(
            Q(expires_at=None) | Q(expires_at__gt=timezone.now())
        )


class ApiKey(models.Model):
    """A bearer key. Only the HMAC digest of its secret is here; the secret is shown once."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100, blank=True)
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


class RateWindow(models.Model):
    """How often something happened in one window of time; `throttling.py` counts in it, atomically."""

    key = models.CharField(max_length=100, primary_key=True)
    window = models.BigIntegerField()
    count = models.IntegerField(default=0)
