"""Nobody can set what only the service sets: owner, id, time, state and rank in a body have no effect."""

from __future__ import annotations

import copy
import datetime as dt
import uuid
from typing import Any

import httpx2
from django.utils import timezone

from accounts.models import ApiKey, User
from chatservice.dialects import DIALECTS
from chatservice.testing import needs_dialect, tried_once
from completions.models import Run
from conversations.models import Conversation, Message, Todo
from tests.matrix import operations, subjects
from tests.matrix.asking import by_frame, request
from tests.matrix.rows import Row, filled
from tests.test_matrix_leaks import MatrixCase

LONG_AGO = "1999-12-31T00:00:00Z"
EVIL = str(uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057"))
FLAGS = ("is_staff", "is_superuser", "is_active", "guest_made", "is_guest", "isStaff", "isSuperuser")
OWNERS = ("owner", "owner_id", "user", "userId", "account", "end_user", "principal", "ownerId", "created_by")
IDS = ("id", "pk", "uuid", "message_id", "run_id", "head", "head_id", "key_id")
TIMES = (
    "created_at",
    "createdAt",
    "created",
    "updated_at",
    "date_joined",
    "expires_at",
    "archived_at",
    "pinned_at",
    "finished_at",
)
STATES = ("state", "status", "position", "next_position", "epoch", "digest", "lease_until", "finish_reason", "guest")


def overreaching(alice: str) -> dict[str, Any]:
    """Return the fields that no client may set."""
    return {
        **dict.fromkeys(FLAGS, True),
        **dict.fromkeys(OWNERS, alice),
        **dict.fromkeys(IDS, EVIL),
        **dict.fromkeys(TIMES, LONG_AGO),
        **dict.fromkeys(STATES, "complete"),
        "tokens": 10**9,
        "usage": {"total_tokens": 10**9},
        "groups": [1],
        "user_permissions": [1],
        "password_hash": "x",
        "api_keys": [{"name": "mine"}],
        "messages_count": 5,
        "__proto__": {"is_staff": True},
        "constructor": {"prototype": {"is_staff": True}},
    }


@tried_once
class MassAssignmentTest(MatrixCase):
    def setUp(self) -> None:
        super().setUp()
        self.owner, self.other = subjects.subject_of("alice", self.service), subjects.subject_of("bob", self.service)
        self.keep(self.owner, self.other)
        self.things = subjects.things_of(self.owner, self.service)
        self.began = timezone.now() - dt.timedelta(seconds=5)

    def writes(self) -> list[Row]:
        return [row for row in operations.rows() if row.body is not None and row.kind in ("POST", "PUT", "PATCH")]

    def write(self, row: Row, body: Any, query: str = "") -> httpx2.Response:
        """Write as Bob, to a new thing of his own."""
        self.other.own = subjects.things_of(self.other, self.service)
        values = {f"own.{name}": value for name, value in self.other.own.items()}
        values["fresh"] = self.other.user.username if "/users/" in row.target else f"fresh-{uuid.uuid4().hex[:12]}"
        return request(self.other, row.kind, filled(row.own_path(), values) + query, filled(body, values))

    def all_of_alice(self) -> tuple[Any, ...]:
        user = User.objects.filter(pk=self.owner.user.pk)
        return (*self.stored_of(self.things), list(user.values()), self.count(Conversation, "owner"), self.keys())

    def count(self, model: Any, name: str) -> int:
        return model.objects.filter(**{name: self.owner.user.pk}).count()

    def keys(self) -> list[Any]:
        return list(ApiKey.objects.filter(user=self.owner.user).values_list("id", "revoked_at", "expires_at"))

    def assert_no_effect(self) -> None:
        """Fail if any value that Bob may not set was accepted."""
        me = User.objects.get(pk=self.other.user.pk)
        self.assertEqual((me.is_staff, me.is_superuser, me.is_active, me.guest_made), (False, False, True, False))
        self.assertGreater(me.date_joined, self.began - dt.timedelta(minutes=5))
        for model in (Conversation, Message, Run, Todo, User):
            self.assertFalse(model.objects.filter(pk=EVIL).exists(), model.__name__)
        # Owners may create keys, but cannot set these fields in the body. A key that was rotated expires.
        keys = ApiKey.objects.filter(user=me, successors=None)
        self.assertEqual(set(keys.values_list("expires_at", "revoked_at")), {(None, None)})
        mine = Conversation.objects.filter(owner=me)
        self.assertEqual(mine.filter(created_at__lt=self.began).count(), 0)
        self.assertEqual(mine.exclude(archived_at=None, pinned_at=None).count(), 0)
        said = Message.objects.filter(conversation__in=mine)
        self.assertEqual(said.filter(created_at__lt=self.began).count(), 0)
        self.assertEqual(said.filter(position__gt=1_000).count(), 0)
        self.assertEqual(Run.objects.filter(user=me, epoch__gt=100).count(), 0)
        fresh = User.objects.filter(username__startswith="fresh-", date_joined__gte=self.began)
        self.assertFalse(fresh.filter(is_staff=True).exists() or fresh.filter(is_superuser=True).exists())

    def test_fields_of_the_service_have_no_effect_in_a_body(self) -> None:
        before = self.all_of_alice()
        for row in self.writes():
            if row.target == "/graphql":
                continue
            with self.subTest(row.operation):
                control = self.write(row, row.body)
                body = {**overreaching(self.things["user"]), **copy.deepcopy(row.body)}
                response = self.write(row, body)
                self.assertLess(response.status_code, 500, response.text)
                self.assertNotIn(self.things["canary"], response.text)
                if response.status_code < 400:
                    self.assertEqual(response.status_code, control.status_code, response.text)
                self.assert_no_effect()
        self.assertEqual(self.all_of_alice(), before)

    def test_each_field_by_itself_and_in_the_query(self) -> None:
        before = self.all_of_alice()
        for row in self.writes():
            if row.target == "/graphql" or "completions" in row.target:
                continue
            for name in ("owner_id", "id", "is_staff", "created_at", "guest_made"):
                with self.subTest(f"{row.operation} {name}"):
                    value = overreaching(self.things["user"])[name]
                    self.assertLess(self.write(row, {**row.body, name: value}, f"?{name}={value}").status_code, 500)
        self.assert_no_effect()
        self.assertEqual(self.all_of_alice(), before)

    def test_a_frame_with_a_field_of_the_service_is_refused(self) -> None:
        needs_dialect("websocket")
        row = next(row for row in operations.rows() if row.operation == "frame send")
        for name, value in overreaching(self.things["user"]).items():
            if name in ("id",):
                continue  # in a frame, `id` is the client's name for the frame
            with self.subTest(name):
                self.assertEqual(by_frame(self.other, self.service, {**row.body, name: value}).outcome, "invalid_frame")

    def test_an_argument_that_the_graph_does_not_have_is_refused(self) -> None:
        if "graphql" not in DIALECTS:
            self.skipTest("no GraphQL here")
        self.other.own = subjects.things_of(self.other, self.service)
        values = {f"own.{name}": value for name, value in self.other.own.items()}
        for row in operations.rows():
            if row.kind != "mutation":
                continue
            for name in ("ownerId", "owner", "userId", "isStaff", "createdAt", "state", "role"):
                with self.subTest(f"{row.operation} {name}"):
                    document = filled(row.body["query"], values).replace("(", f"({name}: true, ", 1)
                    response = request(self.other, "POST", "/graphql", {"query": document, "ownerId": EVIL})
                    code = response.json()["errors"][0]["extensions"]["code"]
                    self.assertEqual((response.status_code, code), (400, "graphql_validation_failed"), response.text)
        self.assert_no_effect()
