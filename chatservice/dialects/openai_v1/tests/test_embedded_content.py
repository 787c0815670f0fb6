"""Pictures, recordings and documents that come as base64 inside of requests: small and large, stored and not."""

from __future__ import annotations

import base64
import json
import random
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from django.conf import settings

from chatservice.dialects.openai_v1.tests.files_case import FilesCase
from chatservice.testing import ApiUser, needs_dialect, tried_on, wait_until
from conversations.models import Conversation, Message, MessagePart
from files.models import ContentChange, File
from scripts.procfs import resident_bytes, tree

needs_dialect("openai_v1")
MEBIBYTE = 1_048_576
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(64)
LARGE = b"\x89PNG\r\n\x1a\n" + random.Random(4).randbytes(4 * MEBIBYTE)
AT_ONCE = 12
CHAT = "/v1/chat/completions"


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def data_url(content: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64_of(content)}"


def picture(content: bytes, media_type: str = "image/png") -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data_url(content, media_type), "detail": "low"}}


def asks(text: str, *parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}, *parts]}


@tried_on("postgresql")
class EmbeddedContentTest(FilesCase):
    limits = {"LIMIT_FILES_PER_USER_BYTES": str(40 * MEBIBYTE)}

    def chat(self, *messages: Any, **more: Any) -> Any:
        return self.openai.chat.completions.create(model="ok", messages=messages, **more)

    def sent(self) -> list[Any]:
        """Return the messages, or items, that the model's server got last."""
        body = self.up.posts[-1].body
        return list(body["messages"] if "messages" in body else body["input"])

    def post(self, path: str, body: Any, user: ApiUser | None = None) -> Any:
        return (user or self.alice).http.post(f"{self.running.url}{path}", json=body)

    def files(self, user: ApiUser | None = None) -> list[File]:
        return list(File.objects.filter(owner=(user or self.alice).user))

    def stored(self, user: ApiUser | None = None) -> list[Path]:
        """Return what is on the disk of a user's content."""
        folder = Path(settings.VAR_DIR) / "files" / (user or self.alice).user.pk.hex
        return list(folder.iterdir()) if folder.exists() else []

    def wait_until_settled(self) -> None:
        wait_until(lambda: not ContentChange.objects.filter(owner_id=self.alice.user.pk).exists())

    def test_a_large_picture_that_is_resent_ten_times_is_stored_once(self) -> None:
        history: list[Any] = [asks("What is it?", picture(LARGE))]
        for number in range(10):
            answer = self.chat(*history).choices[0].message
            self.assertEqual(self.sent()[0], asks("What is it?", picture(LARGE)))
            history += [answer.model_dump(exclude_none=True), {"role": "user", "content": f"Sure? {number}"}]
        [file] = self.files()
        self.assertEqual((file.size, file.media_type, file.name), (len(LARGE), "image/png", "picture.png"))
        self.assertEqual([path.read_bytes() for path in self.stored()], [LARGE])
        conversation = Conversation.objects.get(owner=self.alice.user)
        self.assertEqual(Message.objects.of(conversation.pk).count(), 20)
        longest = max(len(json.dumps(part.data)) for part in MessagePart.objects.filter(message__role="user"))
        self.assertLess(longest, 1_000)
        self.assertEqual(self.openai.files.list().data, [], "nobody uploaded it")

    def test_every_form_is_stored_as_a_reference_and_sent_as_content(self) -> None:
        sound = {"type": "input_audio", "input_audio": {"data": base64_of(WAV), "format": "wav"}}
        raw_sound = {"type": "input_audio", "input_audio": {"data": base64_of(b"\x00\x01"), "format": "pcm16"}}
        document = {"type": "file", "file": {"filename": "a.pdf", "file_data": data_url(b"%PDF-1", "application/pdf")}}
        drawing = picture(b"<svg/>", "image/svg+xml")
        given = asks("What?", picture(PNG), sound, raw_sound, document, drawing)
        self.chat(given)
        self.assertEqual(self.sent(), [given])
        message = Message.objects.get(conversation__owner=self.alice.user, role="user")
        self.assertEqual(len(self.files()), 5)
        for part in message.as_wire()["content"][1:]:
            self.assertIn("file-", str(part))
            self.assertNotIn("base64", str(part))
        self.assertEqual(message.parts.exclude(file=None).count(), 5)

    def test_responses_have_it_in_items_and_a_server_of_that_api_gets_it_so(self) -> None:
        content = [
            {"type": "input_text", "text": "What?"},
            {"type": "input_image", "image_url": data_url(LARGE), "detail": "auto"},
            {"type": "input_file", "filename": "a.pdf", "file_data": data_url(b"%PDF-1", "application/pdf")},
        ]
        for model in ("native/ok", "ok"):
            made = self.openai.responses.create(model=model, input=[{"role": "user", "content": content}])
            self.assertIn(base64_of(LARGE), str(self.sent()))
            [item] = self.openai.responses.input_items.list(made.id).data
            self.assertEqual(self.openai.files.content(item.content[1].file_id).content, LARGE)
            later = self.openai.responses.create(model=model, input="Sure?", previous_response_id=made.id)
            self.assertIn(base64_of(LARGE), str(self.sent()))
            self.assertEqual(later.status, "completed")
        self.assertEqual(len(self.files()), 2)

    def test_what_is_not_to_be_stored_is_sent_and_leaves_nothing(self) -> None:
        for content in (PNG, LARGE):
            question = asks("What is it?", picture(content))
            answer = self.chat(question, store=False).choices[0].message
            self.assertEqual(self.sent(), [question])
            self.chat(question, answer.model_dump(exclude_none=True), asks("And?", picture(content)), store=False, n=2)
            self.assertEqual(self.sent()[-1], asks("And?", picture(content)))
            self.openai.responses.create(
                model="native/ok",
                input=[{"role": "user", "content": [{"type": "input_image", "image_url": data_url(content)}]}],
                store=False,
            )
            self.assertIn(base64_of(content), str(self.sent()))
        self.assertEqual((self.files(), self.stored()), ([], []))
        self.assertFalse(Conversation.objects.filter(owner=self.alice.user).exists())

    def test_what_only_looks_like_content_stays_text(self) -> None:
        text = base64_of(random.Random(5).randbytes(900_000))
        padding = picture(PNG)  # the body is large enough to be searched for content
        self.chat({"role": "system", "content": text}, {"role": "user", "content": text[:200_000]}, asks("?", padding))
        self.assertEqual([each["content"] for each in self.sent()[:2]], [text, text[:200_000]])
        self.assertEqual(len(self.files()), 1)
        odd = self.post(CHAT, {"model": "ok", "messages": [asks("?", padding)], "x": {text: 1}})
        self.assertEqual((odd.status_code, odd.json()["error"]["code"]), (400, "invalid_json"))
        forged = self.chat(asks("?", {"type": "image_url", "image_url": {"url": "data:a/b;base64,sha256:" + "0" * 64}}))
        self.assertTrue(forged.choices)
        self.assertEqual(self.sent()[0]["content"][1]["image_url"]["url"], "data:a/b;base64,sha256:" + "0" * 64)

    def test_a_body_may_be_large_by_its_content_only(self) -> None:
        huge = b"\x89PNG\r\n\x1a\n" + random.Random(6).randbytes(24 * MEBIBYTE)
        self.chat(asks("What is it?", picture(huge)))
        self.assertEqual(self.sent(), [asks("What is it?", picture(huge))])
        for body, limit in (
            ({"messages": [asks("x" * 4_300_000, picture(LARGE))]}, "LIMIT_BODY_BYTES"),
            ({"messages": [asks(base64_of(LARGE), picture(LARGE))]}, "LIMIT_BODY_BYTES"),
            ({"messages": [asks("?", *[picture(huge)] * 2)]}, "LIMIT_CONTENT_BODY_BYTES"),
        ):
            response = self.post(CHAT, {"model": "ok", **body})
            self.assertEqual(response.status_code, 413, response.text)
            self.assertEqual(response.json()["error"]["code"], "request_too_large")
            self.assertIn(limit, response.json()["error"]["message"])
        too_long = self.post("/v1/embeddings", {"model": "ok", "input": data_url(LARGE)})
        self.assertEqual(too_long.status_code, 413, "this takes no pictures")
        self.assertEqual(len(self.up.posts), 1)

    def test_many_large_bodies_at_once_take_hardly_any_memory(self) -> None:
        huge = b"\x89PNG\r\n\x1a\n" + random.Random(7).randbytes(23 * MEBIBYTE)
        body = json.dumps({"model": "echo", "messages": [asks("?", picture(huge))]}).encode()
        assert self.service.process is not None
        pids = tree(self.service.process.pid)
        before, most = resident_bytes(pids), 0
        with ThreadPoolExecutor(AT_ONCE) as pool:
            asked = [
                pool.submit(self.alice.http.post, CHAT, content=body, headers={"Content-Type": "application/json"})
                for _ in range(AT_ONCE)
            ]
            while not all(each.done() for each in asked):
                most = max(most, resident_bytes(pids))
                wait(asked, timeout=0.02)
        self.assertEqual({each.result().status_code for each in asked}, {200})
        self.assertLess(most - before, 100 * MEBIBYTE, f"{AT_ONCE} bodies of {len(body)} bytes")

    def test_a_picture_is_deleted_with_the_last_message_that_refers_to_it(self) -> None:
        self.chat(asks("One", picture(LARGE)))
        self.chat(asks("Two", picture(LARGE)))
        self.wait_until_settled()
        first, second = Conversation.objects.filter(owner=self.alice.user)
        for number, conversation in enumerate((first, second)):
            self.assertEqual(len(self.files()), 1, f"{number} deleted")
            answer = self.alice.http.delete(f"{self.running.url}/v1/conversations/conv_{conversation.pk.hex}")
            self.assertEqual(answer.status_code, 200, answer.text)
        self.assertEqual((self.files(), self.stored()), ([], []))

    def test_every_way_to_delete_a_message_deletes_its_picture(self) -> None:
        part = {"type": "input_image", "image_url": data_url(PNG)}
        item = {"role": "user", "content": [part]}
        made = self.openai.responses.create(model="ok", input=[item])
        self.wait_until_settled()
        self.openai.responses.delete(made.id)
        self.assertEqual((self.files(), self.stored()), ([], []))
        talk = self.openai.conversations.create(items=[item])
        self.assertEqual(len(self.files()), 1)
        [stored] = self.openai.conversations.items.list(talk.id).data
        self.openai.conversations.items.delete(stored.id, conversation_id=talk.id)
        self.assertEqual((self.files(), self.stored()), ([], []))
        added = self.openai.conversations.items.create(talk.id, items=[item])
        self.assertEqual(self.openai.files.content(added.data[0].content[0].file_id).content, PNG)
        self.openai.files.delete(added.data[0].content[0].file_id)
        self.assertEqual((self.files(), self.stored()), ([], []))

    def test_an_uploaded_file_with_the_same_content_stays(self) -> None:
        uploaded = self.openai.files.create(file=("a.png", PNG), purpose="vision")
        made = self.openai.responses.create(
            model="ok", input=[{"role": "user", "content": [{"type": "input_image", "image_url": data_url(PNG)}]}]
        )
        self.wait_until_settled()
        self.assertEqual((len(self.files()), len(self.stored())), (2, 1))
        self.openai.responses.delete(made.id)
        self.assertEqual([str(file.pk.hex) for file in self.files()], [uploaded.id.removeprefix("file-")])
        self.assertEqual(self.openai.files.content(uploaded.id).content, PNG)

    def test_a_refused_question_leaves_nothing(self) -> None:
        talk = self.openai.conversations.create()
        self.alice.http.delete(f"{self.running.url}/v1/conversations/{talk.id}")
        body = {"model": "ok", "messages": [asks("?", picture(LARGE))]}
        self.assertEqual(self.post(CHAT, {**body, "n": 1_000}).status_code, 400)
        used = {"Idempotency-Key": "one"}
        self.alice.http.post(f"{self.running.url}{CHAT}", json={"model": "ok", "messages": [asks("!")]}, headers=used)
        again = self.alice.http.post(f"{self.running.url}{CHAT}", json=body, headers=used)
        self.assertEqual(again.status_code, 422, again.text)
        self.wait_until_settled()
        self.assertEqual((self.files(), self.stored()), ([], []))

    def test_while_the_storage_is_away_it_says_so(self) -> None:
        folder = Path(settings.VAR_DIR) / "files" / self.alice.user.pk.hex
        folder.parent.mkdir(exist_ok=True)
        folder.touch()  # a file, where a folder has to be
        question = asks("?", picture(LARGE))
        item = {"role": "user", "content": [{"type": "input_image", "image_url": data_url(PNG)}]}
        for path, body in (
            (CHAT, {"model": "ok", "messages": [question]}),
            ("/v1/responses", {"model": "ok", "input": [item]}),
            ("/v1/conversations", {"items": [item]}),
        ):
            refused = self.post(path, body)
            self.assertEqual((refused.status_code, refused.json()["error"]["code"]), (503, "storage_unavailable"))
            self.assertIn("Retry-After", refused.headers)
        folder.unlink()
        self.chat(question)
        self.assertEqual(self.sent(), [question])

    def test_the_same_key_gets_the_same_answer(self) -> None:
        body = {"model": "ok", "messages": [asks("?", picture(LARGE))]}
        headers = {"Idempotency-Key": "picture"}
        answers = [
            self.alice.http.post(f"{self.running.url}{CHAT}", json={**body, "store": store}, headers=headers)
            for store in (True, True)
        ]
        self.assertEqual(answers[0].json(), answers[1].json())
        self.assertEqual(len(self.up.posts), 1)

    def test_a_full_account_gets_answers_that_are_not_stored_or_a_refusal(self) -> None:
        for seed in (1, 2):
            self.chat(asks("?", picture(b"\x89PNG\r\n\x1a\n" + random.Random(seed).randbytes(18 * MEBIBYTE))))
        more = picture(b"\x89PNG\r\n\x1a\n" + random.Random(3).randbytes(18 * MEBIBYTE))
        answered = self.openai.chat.completions.with_raw_response.create(model="ok", messages=[asks("Fits?", more)])
        self.assertEqual(answered.headers["x-not-stored"], "quota")
        self.assertEqual(self.sent(), [asks("Fits?", more)])
        talk = self.openai.conversations.create()
        item = {"role": "user", "content": [{"type": "input_image", "image_url": more["image_url"]["url"]}]}
        for path in ("/v1/responses", f"/v1/conversations/{talk.id}/items"):
            body = {"items": [item]} if "items" in path else {"model": "ok", "input": [item], "conversation": talk.id}
            refused = self.post(path, body)
            self.assertEqual(refused.status_code, 403, refused.text)
            self.assertIn("LIMIT_FILES_PER_USER_BYTES", refused.json()["error"]["message"])
        self.assertEqual((len(self.files()), len(self.stored())), (2, 2))

    def test_everybody_has_a_picture_of_their_own(self) -> None:
        for user in (self.alice, self.bob):
            self.client_of(user).chat.completions.create(model="ok", messages=[asks("?", picture(PNG))])  # type: ignore[list-item]
        [hers], [his] = self.files(), self.files(self.bob)
        self.assertNotEqual(hers.pk, his.pk)
        answer = self.bob.http.get(f"{self.running.url}/v1/files/file-{hers.pk.hex}/content")
        self.assertEqual(answer.status_code, 404)

    def test_what_is_no_base64_stays_as_it_is(self) -> None:
        parts = [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,n o"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}},
            {"type": "image_url", "image_url": {"url": "data:image/svg+xml,<svg/>"}},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 2_000_000 + "!"}},
            {"type": "input_audio", "input_audio": {"data": 7, "format": "wav"}},
            {"type": "image_url", "image_url": 7},
            {"type": "image_url"},
        ]
        self.chat(asks("?", *parts))
        self.assertEqual(self.sent(), [asks("?", *parts)])
        self.assertEqual(self.files(), [])
