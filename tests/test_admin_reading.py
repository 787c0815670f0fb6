"""Reading in the admin: a reason is required, every access is logged, and content is hidden from unauthorized staff."""

from __future__ import annotations

import re
from typing import Any
from unittest import mock

import httpx2
from django.contrib.admin.models import LogEntry
from django.test import override_settings

from accounts.models import User
from chatservice.testing import ServiceTestCase
from completions.models import Run
from conversations.models import AccessLogEntry, Conversation, Message, MessagePart
from conversations.services import append_message, edit_message, start_conversation, update_conversation
from tests.matrix.subjects import signed_in
from tests.staff import CANARY, LIST, REASON, StaffCase, staff, texts_of

SEARCH = f"{LIST}?said={CANARY}"


class TranscriptPageTest(StaffCase):
    def read(self, client: Any, **more: Any) -> Any:
        return client.post(self.page_of_talk, {"reason": REASON, **more}, follow=True)

    def test_a_reason_opens_it_and_each_access_is_recorded(self) -> None:
        client = self.signed_in(self.carol)
        self.assertNotContains(client.get(self.page_of_talk), f"My {CANARY}")
        self.assertEqual(self.new_entries(), [])
        response = self.read(client)
        self.assertContains(response, f"My {CANARY} is <em>this</em>.")
        self.assertContains(response, "Read-only.")
        client.get(self.page_of_talk)  # the reason is remembered, but this access is logged separately
        self.assertEqual(
            [
                (entry.kind, entry.reader_name, entry.owner_id, entry.conversation_id, entry.reason)
                for entry in self.new_entries()
            ],
            [("transcript", self.carol.username, self.alice.pk, self.talk.pk, REASON)] * 2,
        )

    def test_the_instructions_are_content(self) -> None:
        Conversation.objects.filter(pk=self.talk.pk).update(
            generation={"instructions": f"Never say {CANARY} <b>twice</b>", "temperature": 0.25}
        )
        client = self.signed_in(self.carol)
        for page in (client.get(self.page_of_talk), client.get(LIST), self.signed_in(self.dan).get(self.page_of_talk)):
            self.assertNotContains(page, "Never say")
        response = self.read(client)
        self.assertContains(response, f"Never say {CANARY} &lt;b&gt;twice&lt;/b&gt;")
        self.assertContains(response, "<dt>temperature</dt><dd>0.25</dd>")

    def test_tags_are_content(self) -> None:
        update_conversation(conversation=self.talk, tags=[f"Tag {CANARY}"])
        client, dan = self.signed_in(self.carol), self.signed_in(self.dan)
        for page in (client.get(self.page_of_talk), client.get(LIST), dan.get(self.page_of_talk)):
            self.assertNotContains(page, f"Tag {CANARY}")
        self.assertContains(self.read(client), f'<dd dir="auto">Tag {CANARY}</dd>')
        other = start_conversation(owner_id=self.alice.pk)
        listed = client.get(LIST, {"tag": f" tag  {CANARY.lower()} "})
        self.assertContains(listed, str(self.talk.pk))
        self.assertNotContains(listed, str(other.pk))
        self.assertContains(dan.get(LIST, {"tag": f"tag {CANARY}"}), str(other.pk))  # it filters nothing

    def test_an_answer_without_text_says_why(self) -> None:
        append_message(conversation=self.talk, role="user", content="Well?")
        answer = append_message(conversation=self.talk, role="assistant", content="-", model="echo")
        parts = answer.set_content("", {"reasoning": "hm"})
        answer.finish_reason = "length"
        answer.save()
        MessagePart.objects.bulk_create(parts)
        response = self.read(self.signed_in(self.carol))
        self.assertContains(response, "The model only reasoned and reached the token limit.", count=1)

    def test_the_reason_is_for_one_conversation_and_for_a_while(self) -> None:
        client = self.signed_in(self.carol)
        other = start_conversation(owner_id=self.alice.pk)
        append_message(conversation=other, role="user", content=f"Also {CANARY}")
        self.read(client)
        self.assertNotContains(client.get(f"{LIST}{other.pk}/change/"), f"Also {CANARY}")
        with mock.patch("conversations.access_reasons.time.time", return_value=4e9):
            self.assertNotContains(client.get(self.page_of_talk), f"My {CANARY}")
        self.assertEqual(len(self.new_entries()), 1)

    def test_too_little_is_no_reason(self) -> None:
        client = self.signed_in(self.carol)
        for reason in ("", "abuse", "  x  \n  y  ", "x" * 301):
            self.assertNotContains(self.read(client, reason=reason), f"My {CANARY}")
        self.assertEqual(self.new_entries(), [])

    def test_nothing_is_shown_when_it_cannot_be_recorded(self) -> None:
        client = self.signed_in(self.carol)
        client.raise_request_exception = False
        with mock.patch.object(AccessLogEntry.objects, "bulk_create", side_effect=OSError("disk full")):
            response = self.read(client)
        self.assertEqual(response.status_code, 500)
        self.assertNotIn(CANARY, response.content.decode())

    def test_without_the_permission_there_is_metadata_and_no_way_in(self) -> None:
        client = self.signed_in(self.dan)
        for response in (client.get(self.page_of_talk), self.read(client)):
            self.assertContains(response, self.alice.username)
            self.assertContains(response, "The messages are hidden")
            self.assertNotContains(response, CANARY)
        self.assertNotContains(client.get(LIST), CANARY)
        self.assertNotContains(client.get(SEARCH), f"About {CANARY}")
        self.assertEqual(self.new_entries(), [])

    @override_settings(STAFF_CONTENT_ACCESS=False)
    def test_the_setting_turns_all_of_it_off_for_superusers_too(self) -> None:
        client = self.signed_in(self.root)
        pages = [client.get(self.page_of_talk), self.read(client), client.get(LIST), client.get(SEARCH)]
        pages.append(client.post(SEARCH, {"content_search": "1", "reason": REASON}, follow=True))
        form = {"action": "export_selected", "_selected_action": str(self.talk.pk), "format": "jsonl", "reason": REASON}
        pages.append(client.post(LIST, form, follow=True))
        for response in pages:
            for private in (self.talk.title, f"My {CANARY}", f"So {CANARY}"):
                self.assertNotContains(response, private)
        self.assertEqual(self.new_entries(), [])

    def test_branches_can_be_switched(self) -> None:
        edit_message(message=self.asked, content="Something else")
        client = self.signed_in(self.root)
        shown = self.read(client).content.decode()
        self.assertIn("Something else", shown)
        [address] = re.findall(r'href="\?(leaf=[^"#]+)#m-[^"]+" aria-label="Previous version"', shown)
        self.assertContains(client.get(f"{self.page_of_talk}?{address.replace('&amp;', '&')}"), f"My {CANARY}")

    def test_what_anybody_wrote_stays_text(self) -> None:
        evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
        user = User.objects.create(username='<b onclick="alert(1)">', password="!")
        talk = start_conversation(owner_id=user.pk, title=evil, end_user=evil[:100], metadata={evil: evil})
        message = append_message(
            conversation=talk, role="user", content=evil, author=evil, model=evil, extras={"x": evil}
        )
        Message.objects.filter(pk=message.pk).update(finish_reason="<script>")
        client = self.signed_in(self.root)
        pages = [
            client.get(LIST),
            client.post(f"{LIST}{talk.pk}/change/", {"reason": f"<script>{evil}"}, follow=True),
            client.get("/admin/accounts/user/"),
            client.get("/admin/conversations/accesslogentry/"),
            client.get(f"{LIST}{talk.pk}/delete/"),
            client.get(f"{LIST}{talk.pk}/history/"),
            client.get(f"{LIST}?q=<script>&owner=<script>&model=<script>&since=<script>"),
            client.get(f"{LIST}?said=<script>"),
        ]
        for response in pages:
            shown = response.content.decode()
            self.assertEqual(response.status_code, 200)
            others = re.sub('<script (type="module" )?src="', "", shown)
            self.assertIsNone(re.search(r"<(img|b|script)[ >](?!src)", others))
            self.assertNotIn("<script>alert", shown)
            self.assertNotIn("<img src=x", shown)


class SearchTest(StaffCase):
    def search(self, client: Any) -> Any:
        return client.post(SEARCH, {"content_search": "1", "reason": REASON}, follow=True)

    def test_a_search_asks_for_a_reason_and_is_an_access_to_what_it_showed(self) -> None:
        client = self.signed_in(self.carol)
        self.assertContains(client.get(SEARCH), "Search messages")
        self.assertEqual(self.new_entries(), [])
        response = self.search(client)
        self.assertContains(response, f"<mark>{CANARY}</mark>")
        self.assertContains(response, f"/change/?message={self.asked.pk}#m-{self.asked.pk}")
        [entry] = self.new_entries()
        self.assertEqual((entry.kind, entry.owner_id, entry.conversation_id), ("search", self.alice.pk, self.talk.pk))
        self.assertNotIn(CANARY, str(AccessLogEntry.objects.filter(pk=entry.pk).values()))

    def test_a_search_that_finds_nothing_is_recorded_too(self) -> None:
        client = self.signed_in(self.carol)
        client.post(f"{LIST}?said=nobodysaidthis", {"content_search": "1", "reason": REASON}, follow=True)
        self.assertEqual([(entry.kind, entry.owner_id) for entry in self.new_entries()], [("search", None)])

    def test_a_hit_opens_the_conversation_only_with_its_own_reason(self) -> None:
        client = self.signed_in(self.carol)
        self.search(client)
        self.assertNotContains(client.get(f"{self.page_of_talk}?message={self.asked.pk}"), f"My {CANARY}")

    def test_who_may_not_read_cannot_search_by_content(self) -> None:
        client = self.signed_in(self.dan)
        for response in (client.get(SEARCH), self.search(client)):
            self.assertNotContains(response, str(self.talk.pk))
        self.assertEqual(self.new_entries(), [])

    def test_finding_a_conversation_reads_nothing_and_asks_for_no_reason(self) -> None:
        client = self.signed_in(self.carol)
        self.search(client)  # from now on the reason is remembered
        before = len(self.new_entries())
        for text in (self.alice.username, self.talk.title, str(self.asked.pk), CANARY):
            page = client.get(f"{LIST}?q={text}")
            self.assertContains(page, str(self.talk.pk))
            self.assertNotContains(page, "<mark>")
            self.assertNotContains(page, "content_search")
        self.assertEqual(len(self.new_entries()), before)

    def test_the_list_has_the_conversations_of_the_messages_and_the_counts_agree(self) -> None:
        client = self.signed_in(self.carol)
        other = start_conversation(owner_id=self.dan.pk, title="Other")
        for word in ("once", "twice"):
            append_message(conversation=other, role="user", content=f"{CANARY} {word}")
        start_conversation(owner_id=self.dan.pk, title="Not one of them")
        page = self.search(client)
        self.assertContains(page, "4 messages in 2 conversations")
        self.assertContains(page, "2 conversations\n</nav>")
        self.assertNotContains(page, "Not one of them")
        self.assertNotContains(page, 'name="action"')
        with mock.patch.object(AccessLogEntry.objects, "bulk_create") as recorded:
            page = client.get(f"{SEARCH}&ended=failed")
        self.assertContains(page, "0 messages in 0 conversations")
        self.assertEqual([entry.owner_id for entry in recorded.call_args.args[0]], [None])
        page = client.get(f"{SEARCH}&owner={self.dan.username}")
        self.assertContains(page, "2 messages in 1 conversation,")

    def test_conversations_are_found_by_model_and_by_any_dates(self) -> None:
        client = self.signed_in(self.dan)
        Conversation.objects.filter(pk=self.talk.pk).update(updated_at="2019-02-03T12:00:00Z")
        for query, is_found in (
            ("since=2019-02-03&until=2019-02-03", True),
            ("since=2019-02-04", False),
            ("until=2019-02-02", False),
            ("since=0001-01-01&until=9999-12-31&model=echo", True),
            ("model=echo2", False),
            ("since=2019-02-31", False),
        ):
            shown = client.get(f"{LIST}?{query}").content.decode()
            self.assertEqual(str(self.talk.pk) in shown, is_found, query)

    def test_who_may_not_search_what_was_said_is_told_so(self) -> None:
        for page in (self.signed_in(self.dan).get(LIST), self.signed_in(self.dan).get(SEARCH)):
            self.assertContains(page, "You may not search what was said")
            self.assertNotContains(page, 'id="said"')
        self.assertContains(self.signed_in(self.carol).get(LIST), 'id="said"')

    def test_titles_names_and_ids_are_found_in_the_same_box(self) -> None:
        client = self.signed_in(self.dan)
        for text in (self.alice.username[:8], str(self.talk.pk), str(self.asked.pk)):
            self.assertContains(client.get(f"{LIST}?q={text}"), str(self.talk.pk))
        self.assertContains(self.signed_in(self.carol).get(f"{LIST}?q=About"), self.talk.title)

    def test_strange_texts_are_searched_like_others(self) -> None:
        client = self.signed_in(self.carol)
        for text in ("%", "'\"", "\\", "%00", "a" * 5_000, "((((", "*:*", "NEAR(", "😀", "%F0%28%8C%28"):
            response = client.post(f"{LIST}?said={text}", {"content_search": "1", "reason": REASON}, follow=True)
            self.assertEqual(response.status_code, 200, text[:20])


class ActionTest(StaffCase):
    def act(self, user: User, action: str, **more: Any) -> Any:
        form = {"action": action, "_selected_action": str(self.talk.pk), **more}
        return self.signed_in(user).post(LIST, form, follow=True)

    def test_an_export_asks_for_a_reason(self) -> None:
        response = self.act(self.carol, "export_selected")
        self.assertContains(response, "Why do you need to read this?")
        self.assertNotContains(response, f"My {CANARY}")
        response = self.act(self.carol, "export_selected", format="jsonl", reason="no")
        self.assertContains(response, "Why do you need to read this?")
        self.assertEqual(self.new_entries(), [])

    def test_archive_and_back(self) -> None:
        archivist = staff("archivist", "view", "change_conversation")
        self.act(archivist, "archive")
        self.talk.refresh_from_db()
        self.assertIsNotNone(self.talk.archived_at)
        self.act(archivist, "unarchive")
        self.talk.refresh_from_db()
        self.assertIsNone(self.talk.archived_at)
        self.act(self.carol, "archive")
        self.talk.refresh_from_db()
        self.assertIsNone(self.talk.archived_at)

    def test_delete_takes_everything_and_its_log_keeps_no_title(self) -> None:
        response = self.act(self.root, "delete_selected")
        self.assertContains(response, "with runs and passages: 2")
        with self.captureOnCommitCallbacks(execute=True):
            self.act(self.root, "delete_selected", post="yes")
        self.assertFalse(Conversation.objects.filter(pk=self.talk.pk).exists())
        self.assertFalse(Message.objects.filter(conversation_id=self.talk.pk).exists())
        self.assertEqual(texts_of(self.talk), [])
        self.assertFalse(LogEntry.objects.filter(object_repr__contains=CANARY).exists())
        self.assertTrue(LogEntry.objects.filter(object_id=str(self.talk.pk)).exists())

    def test_the_reaper_can_be_run(self) -> None:
        client = self.signed_in(staff("operator", "view", "change_run"))
        with self.captureOnCommitCallbacks(execute=True):
            response = client.post("/admin/completions/run/reap/", follow=True)
        self.assertContains(response, "runs whose process died were marked as interrupted")
        self.assertEqual(self.signed_in(self.dan).post("/admin/completions/run/reap/").status_code, 403)

    def test_a_queued_run_is_found_by_its_state_and_shows_nothing_of_its_request(self) -> None:
        run = Run.objects.create(
            user=self.alice, upstream="x", model="m", state="queued", worker="", lease_until=0,
            conversation=self.talk, request={"parameters": {"stop": CANARY}},
        )  # fmt: skip
        client = self.signed_in(self.root)
        listed = client.get("/admin/completions/run/", {"state": "queued"})
        self.assertContains(listed, str(run.pk))
        shown = client.get(f"/admin/completions/run/{run.pk}/change/")
        self.assertContains(shown, "Queued")
        self.assertNotContains(shown, CANARY)

    def test_keys_are_revoked_and_never_shown(self) -> None:
        keeper = staff("keeper", "view", "change_apikey")
        form = {"action": "revoke", "_selected_action": str(self.key.pk)}
        response = self.signed_in(keeper).post("/admin/accounts/apikey/", form, follow=True)
        self.assertContains(response, "1 keys were revoked")
        self.key.refresh_from_db()
        self.assertIsNotNone(self.key.revoked_at)
        self.assertNotContains(response, self.secret)

    def test_staff_do_not_make_themselves_superusers(self) -> None:
        manager = staff("manager", "view", "change_user", "change_apikey")
        client = self.signed_in(manager)
        given = {"username": manager.username, "first_name": "Mona", "is_superuser": "on", "is_active": "on"}
        inlines = {f"{name}-{form}_FORMS": 0 for name in ("limits", "owned_groups") for form in ("TOTAL", "INITIAL")}
        client.post(f"/admin/accounts/user/{manager.pk}/change/", {**given, **inlines})
        stored = User.objects.get(pk=manager.pk)
        self.assertEqual((stored.first_name, stored.is_superuser), ("Mona", False))
        page = f"/admin/accounts/user/{self.root.pk}/password/"
        self.assertEqual(client.post(page, {"password1": "x" * 12, "password2": "x" * 12}).status_code, 403)
        from accounts.services import issue_api_key

        key, _ = issue_api_key(user=self.root)
        client.post("/admin/accounts/apikey/", {"action": "revoke", "_selected_action": str(key.pk)})
        key.refresh_from_db()
        self.assertIsNone(key.revoked_at)


class ListCostTest(StaffCase):
    PAGES = (
        LIST,
        "/admin/completions/run/",
        "/admin/accounts/user/",
        "/admin/accounts/apikey/",
        "/admin/conversations/accesslogentry/",
    )

    def test_lists_cost_few_queries_however_much_there_is_and_load_no_bodies(self) -> None:
        for number in range(30):
            talk = start_conversation(owner_id=self.alice.pk, title=f"Talk {number}")
            append_message(conversation=talk, role="user", content=CANARY)
        for page in self.PAGES:
            with self.subTest(page), mock.patch.object(Message, "from_db", side_effect=Message.from_db) as loaded:
                client = self.signed_in(self.root)
                self.assertEqual(client.get(page).status_code, 200)
                for call in loaded.call_args_list:
                    self.assertNotIn("content", call.args[1])
                with self.assertNumQueries(FewQueries()):
                    client.get(page)

    def test_counts_are_exact_where_it_is_cheap_and_estimated_beyond(self) -> None:
        from foundation import admin_base

        self.assertContains(self.signed_in(self.root).get(LIST), "1 conversation")
        with mock.patch.object(admin_base, "COUNTED", 0):
            self.assertContains(self.signed_in(self.root).get(LIST), "about 1 conversation")


class FewQueries(int):
    """Compares equal to any number of queries up to the budget."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int) and other < 15

    __hash__ = int.__hash__


class ExportFileTest(ServiceTestCase):
    def test_the_file_holds_what_was_said_and_the_access_was_recorded_first(self) -> None:
        carol = staff("carol", "view", "read_content")
        talk = start_conversation(owner_id=self.alice.user.pk)
        append_message(conversation=talk, role="user", content="Only in the file")
        browser = httpx2.Client(base_url=self.service.url, headers=signed_in(carol, self.service), trust_env=False)
        self.addCleanup(browser.close)
        token = browser.get(LIST).cookies["csrftoken"]
        browser.headers["Cookie"] += f"; csrftoken={token}"
        form = {"action": "export_selected", "_selected_action": str(talk.pk), "csrfmiddlewaretoken": token}
        asked = browser.post(LIST, data=form)
        self.assertIn("Why do you need to read this?", asked.text)
        for kind in ("jsonl", "markdown", "chatgpt"):
            response = browser.post(LIST, data={**form, "format": kind, "reason": REASON})
            self.assertEqual(response.status_code, 200)
            self.assertIn("Only in the file", response.text)
            self.assertRegex(response.headers["content-disposition"], r'attachment; filename="conversations-[-0-9]+\.')
        entries = AccessLogEntry.objects.filter(owner_id=self.alice.user.pk)
        self.assertEqual(
            [(entry.kind, entry.reason, entry.conversation_id) for entry in entries], [("export", REASON, talk.pk)] * 3
        )
