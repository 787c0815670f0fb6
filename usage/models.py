"""What models cost, what was used, and budgets with what is used and reserved of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Self

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Count, Exists, F, Max, OuterRef, Q
from django.db.models.functions import Coalesce, Greatest, NullIf
from django.utils import timezone

from accounts.access import OwnedQuerySet
from accounts.models import ApiKey, User
from foundation.ids import uuid7
from usage.periods import Period, start_of

# SQLite keeps a decimal as a number of 15 digits: more would be rounded there.
MAX_DIGITS = 15
PricesVersion = tuple[int, dt.datetime | None]
_not_negative = MinValueValidator(0)
WARN_AT = 80  # percent


class ModelPriceQuerySet(models.QuerySet["ModelPrice"]):
    def in_currency(self, currency: str) -> Self:
        return self.filter(currency=currency)

    def begun(self, moment: dt.datetime) -> Self:
        """Return the prices that are valid from `moment` or earlier, also those that a later one replaced."""
        return self.filter(valid_from__lte=moment)

    def upcoming(self, moment: dt.datetime) -> Self:
        return self.filter(valid_from__gt=moment)

    def current(self, moment: dt.datetime) -> Self:
        """Return the prices that are valid at `moment`: of each model at each upstream the newest one."""
        return self.begun(moment).exclude(_replaced(moment))

    def replaced(self, moment: dt.datetime) -> Self:
        return self.begun(moment).filter(_replaced(moment))

    def of(self, model: str, upstream: str) -> Self:
        """Return the prices of exactly this model (or pattern) and upstream."""
        return self.filter(model=model, upstream=upstream)

    def patterns(self) -> Iterable[tuple[str, str]]:
        """Return each model (or pattern) and upstream that has prices, once."""
        return self.order_by().values_list("model", "upstream").distinct()

    def version(self) -> PricesVersion:
        """Return what is different after every change."""
        found = self.aggregate(rows=Count("pk"), newest=Max("changed_at"))
        return found["rows"], found["newest"]


def _replaced(moment: dt.datetime) -> Exists:
    same = {name: OuterRef(name) for name in ("model", "upstream", "currency")}
    return Exists(ModelPrice.objects.begun(moment).filter(valid_from__gt=OuterRef("valid_from"), **same))


class ModelPrice(models.Model):
    """What a model costs from `valid_from` until the same model and upstream have a later price.

    `model` and `upstream` are patterns (`gpt-4o*`); an empty upstream means any. Prices are per million tokens, but
    `per_image` and `per_request` are for one. Cached input is part of input, reasoning is part of output: without a
    price of their own they cost as much.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    model = models.CharField(max_length=200, help_text="A model, or a pattern such as gpt-4o*.")
    upstream = models.CharField(
        max_length=100, blank=True, help_text="A name in UPSTREAMS, or a pattern. Empty means any."
    )
    currency = models.CharField(max_length=3, validators=[RegexValidator(r"^[A-Z]{3}\Z", "Use a code: USD.")])
    input = models.DecimalField(
        max_digits=MAX_DIGITS, decimal_places=6, validators=[_not_negative], help_text="Per million tokens."
    )
    cached_input = models.DecimalField(
        max_digits=MAX_DIGITS,
        decimal_places=6,
        null=True,
        blank=True,
        validators=[_not_negative],
        help_text="Per million tokens of input that the upstream had in its cache. Empty means as input.",
    )
    output = models.DecimalField(
        max_digits=MAX_DIGITS, decimal_places=6, validators=[_not_negative], help_text="Per million tokens."
    )
    reasoning = models.DecimalField(
        max_digits=MAX_DIGITS,
        decimal_places=6,
        null=True,
        blank=True,
        validators=[_not_negative],
        help_text="Per million tokens of reasoning. Empty means as output.",
    )
    per_image = models.DecimalField(max_digits=MAX_DIGITS, decimal_places=6, default=0, validators=[_not_negative])
    per_request = models.DecimalField(max_digits=MAX_DIGITS, decimal_places=6, default=0, validators=[_not_negative])
    max_output_tokens = models.PositiveIntegerField(
        null=True, blank=True, help_text="The longest answer of the model, if it is known."
    )
    valid_from = models.DateTimeField(default=timezone.now)
    # Tells the processes that keep the prices in memory whether to read them again.
    changed_at = models.DateTimeField(auto_now=True)

    objects = ModelPriceQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["model", "upstream", "valid_from"], name="model_price_once"),
            models.CheckConstraint(
                condition=Q(input__gte=0)
                & Q(output__gte=0)
                & (Q(cached_input=None) | Q(cached_input__gte=0))
                & (Q(reasoning=None) | Q(reasoning__gte=0))
                & Q(per_image__gte=0)
                & Q(per_request__gte=0),
                name="model_price_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} at {self.upstream}" if self.upstream else self.model


class DailyUsageQuerySet(OwnedQuerySet["DailyUsage"]):
    owner_lookup = "user"


class UsageAmounts(models.Model):
    """What requests to one model of one upstream used, all added up.

    Tokens are as upstreams reported them, or estimated (for `estimated` requests). `cost` is in millionths of the
    currency; for `unpriced` requests no price was known.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    api_key_id = models.UUIDField(null=True)
    model = models.CharField(max_length=200)
    upstream = models.CharField(max_length=100)
    requests = models.BigIntegerField(default=0)
    failed = models.BigIntegerField(default=0)
    estimated = models.BigIntegerField(default=0)
    unpriced = models.BigIntegerField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)
    cost = models.BigIntegerField(default=0)

    class Meta:
        abstract = True


class DailyUsage(UsageAmounts):
    """What one user's requests with one key to one model of one upstream used on a day, in one group's name.

    A day is one of USAGE_TIME_ZONE. What a user who was erased had used stays, without a user. The id is made from
    these keys.
    """

    day = models.DateField()
    user = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+", db_index=False)
    group = models.ForeignKey(Group, null=True, on_delete=models.SET_NULL, related_name="+", db_index=False)

    objects = DailyUsageQuerySet.as_manager()

    class Meta:
        default_permissions = ("view",)
        verbose_name = "usage"
        verbose_name_plural = "usage"
        indexes = [
            # One user's usage since a day; what an erasure sets to null.
            models.Index(fields=["user", "day"], name="daily_usage_of_user"),
            # Everybody's usage of some days, and that of a group.
            models.Index(fields=["day"], name="daily_usage_of_day"),
            models.Index(fields=["group", "day"], name="daily_usage_of_group"),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.model}"


class MonthlyUsage(UsageAmounts):
    """The sums of `DailyUsage` over a month that is over, so that pages over a year read few rows. See `months.py`.

    `month` is the first day. A month has either all of its rows or none. The id is made from the keys.
    """

    month = models.DateField()
    user = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    group = models.ForeignKey(Group, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        default_permissions = ()
        # Everybody's usage in some months; which months are summed up.
        indexes = [models.Index(fields=["month"], name="monthly_usage_of_month")]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} {self.model}"


class BudgetQuerySet(models.QuerySet["Budget"]):
    def in_force(self) -> BudgetQuerySet:
        return self.filter(is_active=True)


class Budget(models.Model):
    """How much a subject may use in each period: everybody, or one group, user, key or end user.

    `max_cost` is in millionths of CURRENCY. `for_each`: each user (or each end user) of the subject has this much, not
    all of them together. One that is not `is_hard` only warns.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=100, unique=True)
    group = models.ForeignKey(Group, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(User, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    api_key = models.ForeignKey(ApiKey, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    end_user = models.CharField(
        max_length=200, blank=True, help_text="A label that callers send with a request, or * for any."
    )
    for_each = models.BooleanField(
        default=False, help_text="Each user of the group, or each end user, has this budget; not all of them together."
    )
    period = models.CharField(max_length=5, choices=Period, default=Period.MONTH)
    max_tokens = models.PositiveBigIntegerField(null=True, blank=True, help_text="Input and output together.")
    max_cost = models.PositiveBigIntegerField(null=True, blank=True, help_text="In millionths of the currency.")
    is_hard = models.BooleanField("refuses", default=True, help_text="Otherwise it only warns.")
    warn_at = models.PositiveSmallIntegerField(
        default=WARN_AT, validators=[MinValueValidator(1), MaxValueValidator(100)], help_text="Percent."
    )
    is_active = models.BooleanField(default=True)

    objects = BudgetQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(max_tokens__isnull=False) | Q(max_cost__isnull=False), name="budget_limits_something"
            ),
            models.CheckConstraint(
                condition=Q(group=None, user=None) | Q(group=None, api_key=None) | Q(user=None, api_key=None),
                name="budget_of_one_subject",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        super().clean()
        if sum(subject is not None for subject in (self.group_id, self.user_id, self.api_key_id)) > 1:
            raise ValidationError("Choose a group, a user or a key, or none of them for everybody.")
        if self.max_tokens is None and self.max_cost is None:
            raise ValidationError("Set a limit of tokens, of cost, or of both.")
        if self.for_each and (self.user_id or self.api_key_id) and not self.end_user:
            raise ValidationError({"for_each": "A user, or a key, has its budget for itself anyway."})


class BudgetUseQuerySet(models.QuerySet["BudgetUse"]):
    def current(self, moment: dt.datetime) -> Self:
        """Return the rows of the periods that contain `moment`."""
        now = Q()
        for period in Period:
            now |= Q(budget__period=period, start=start_of(period, moment))
        return self.filter(now)

    def with_share(self) -> Self:
        """Add `share`: how many percent of the limit are used; where two limits apply, of the tighter one."""
        return self.annotate(share=Greatest(_share("tokens"), _share("cost")))

    def near_limit(self, moment: dt.datetime) -> Self:
        """Return the rows of budgets in force that have now reached the share from which they warn."""
        return self.current(moment).with_share().near()

    def near(self) -> Self:
        """Return the rows `with_share` of budgets in force that have reached the share from which they warn."""
        return self.filter(budget__is_active=True, share__gte=F("budget__warn_at"))


def _share(kind: str) -> Coalesce:
    # A limit of 0 has no share that is used.
    limit = NullIf(F(f"budget__max_{kind}"), 0, output_field=models.BigIntegerField())
    share = models.ExpressionWrapper(F(f"used_{kind}") * 100.0 / limit, models.FloatField())
    return Coalesce(share, 0.0, output_field=models.FloatField())


class BudgetUse(models.Model):
    """What was used of a budget in one period that began on `start`, and what running requests have reserved.

    `member` is whose budget it is, where each has one; its id is made from these three. `warned` is the percentage
    that was last reported. Costs are in millionths of the currency.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    # Without a constraint: a process that knows a budget for two seconds after its deletion must not fail.
    budget = models.ForeignKey(
        Budget, on_delete=models.CASCADE, related_name="uses", db_index=False, db_constraint=False
    )
    member = models.CharField(max_length=200, blank=True)
    start = models.DateField()
    used_tokens = models.BigIntegerField(default=0)
    used_cost = models.BigIntegerField(default=0)
    reserved_tokens = models.BigIntegerField(default=0)
    reserved_cost = models.BigIntegerField(default=0)
    warned = models.PositiveSmallIntegerField(default=0)

    objects = BudgetUseQuerySet.as_manager()

    class Meta:
        default_permissions = ("view",)
        verbose_name = "use of a budget"
        verbose_name_plural = "use of budgets"
        # What is used of a budget now, in the admin; what has to be reported.
        indexes = [models.Index(fields=["budget", "start"], name="budget_use_of_period")]

    def __str__(self) -> str:
        return f"{self.budget_id} {self.start}"


class Reservation(models.Model):
    """The most that a request which is not over may use of each budget that applies. `run_id` is the request's.

    `uses` are the ids of the rows of `BudgetUse` that have this much reserved for it, as the database writes them.
    """

    run_id = models.UUIDField(primary_key=True)
    uses = models.TextField()
    tokens = models.BigIntegerField()
    cost = models.BigIntegerField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.run_id)
