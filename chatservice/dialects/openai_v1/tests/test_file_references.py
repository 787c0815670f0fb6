"""Files in questions: what the model's server gets of them, by the official client, and whose they may be."""

from __future__ import annotations

import base64
import datetime as dt
from pathlib import Path
from typing import Any

import openai
from django.conf import settings
from django.utils import timezone

from chatservice.dialects.openai_v1.tests.files_case import FilesCase
from chatservice.testing import needs_dialect, tried_once
from conversations.models import Conversation, Message
from files.models import File

needs_dialect("chat_v1")
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
PDF = b"%PDF-1.7\n" + bytes(range(256))
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(64)
CHAT = "/v1/chat/completions"
UNKNOWN = "file-00000000000070008000000000000000"
LIMIT = 1_000


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def picture(file_id: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"file_id": file_id, "detail": "low"}}


def document(file_id: Any) -> dict[str, Any]:
    return {"type": "file", "file": {"file_id": file_id}}


def asks(text: str, *parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}, *parts]}


@tried_once
class FileReferencesCase(FilesCase):
    limits = {"LIMIT_CONTENT_BODY_BYTES": str(LIMIT)}

    def upload(self, content: bytes, name: str, purpose: Any = "user_data") -> str:
        return str(self.openai.files.create(file=(name, content), purpose=purpose).id)

    def chat(self, *messages: Any, model: str = "ok") -> list[Any]:
        """Ask for a chat completion; return the messages that the model's server got."""
        self.openai.chat.completions.create(model=model, messages=messages)
        body = self.up.posts[-1].body
        return list(body["messages"] if "messages" in body else body["input"])

    def parts(self, *parts: Any, text: str = "What is it?") -> list[Any]:
        """Return what the model's server got instead of `parts`."""
        return list(self.chat(asks(text, *parts))[-1]["content"][1:])


class SentTest(FileReferencesCase):
    def test_the_content_is_sent_and_the_reference_is_stored(self) -> None:
        seen, read, heard = self.upload(PNG, "a.png", "vision"), self.upload(PDF, "a.pdf"), self.upload(WAV, "a.wav")
        sound = {"type": "input_audio", "input_audio": {"file_id": heard}}
        wanted = [
            {
                "type": "image_url",
                "image_url": {"detail": "low", "url": f"data:image/png;base64,{base64_of(PNG)}"},
            },
            {
                "type": "file",
                "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{base64_of(PDF)}"},
            },
            *[{"type": "input_audio", "input_audio": {"data": base64_of(WAV), "format": "wav"}}] * 2,
        ]
        sent = [picture(seen), document(read), document(heard), sound]
        self.assertEqual(self.parts(*sent), wanted)
        message = Message.objects.get(conversation__owner=self.alice.user, role="user")
        self.assertEqual(message.as_wire()["content"][1:], sent)
        self.assertEqual(self.openai.files.retrieve(seen).bytes, len(PNG))  # it may be deleted, and is not

    def test_a_resent_history_is_threaded_and_sent_whole(self) -> None:
        question = asks("What is it?", picture(self.upload(PNG, "a.png")))
        answer = self.openai.chat.completions.create(model="ok", messages=[question]).choices[0].message
        got = self.chat(question, answer.model_dump(exclude_none=True), {"role": "user", "content": "Sure?"})
        self.assertIn(base64_of(PNG), str(got[0]))
        self.assertEqual(Conversation.objects.filter(owner=self.alice.user).count(), 1)

    def test_a_picture_in_an_answer_is_named(self) -> None:
        drawn = picture(self.upload(PNG, "drawn.png"))
        answer = {"role": "assistant", "content": [{"type": "text", "text": "Here"}, drawn]}
        got = self.chat({"role": "user", "content": "Draw"}, answer, {"role": "user", "content": "Thanks"})
        self.assertEqual(got[1]["content"][1], {"type": "text", "text": "[file drawn.png]"})

    def test_another_api_goes_on_in_the_conversation(self) -> None:
        self.chat(asks("What is it?", picture(self.upload(PNG, "a.png"))))
        conversation = Conversation.objects.get(owner=self.alice.user)
        path = f"{self.running.url}/v1/chat/conversations/{conversation.pk}/messages"
        response = self.alice.http.post(path, json={"content": "Sure?", "model": "ok"})
        self.assertEqual(response.status_code, 201, response.text)
        self.assertIn(base64_of(PNG), str(self.up.posts[-1].body["messages"][0]))

    def test_what_is_gone_is_named_and_the_question_asked(self) -> None:
        deleted, expired, kept = (self.upload(PNG + name.encode(), name) for name in ("a.png", "b.png", "c.png"))
        question = asks("What?", picture(deleted), {"type": "file", "file": {"file_id": expired, "filename": "b"}})
        first = self.openai.chat.completions.create(model="ok", messages=[question])
        self.openai.files.delete(deleted)
        past = timezone.now() - dt.timedelta(seconds=1)
        File.objects.filter(owner=self.alice.user, name="b.png").update(expires_at=past)
        answer = {"role": "assistant", "content": first.choices[0].message.content}
        got = self.chat(question, answer, asks("And?", picture(kept)))
        texts = [f"[file {deleted} is not available]", "[file b is not available]"]
        self.assertEqual(got[0]["content"][1:], [{"type": "text", "text": text} for text in texts])
        self.assertIn("data:image/png", str(got[-1]))
        self.assertEqual(Conversation.objects.filter(owner=self.alice.user).count(), 1)

    def test_content_that_the_storage_lost_is_named(self) -> None:
        file_id = self.upload(PNG, "a.png")
        for stored in (Path(settings.VAR_DIR) / "files" / self.alice.user.pk.hex).iterdir():
            stored.unlink()
        self.assertEqual(self.parts(picture(file_id)), [{"type": "text", "text": f"[file {file_id} is not available]"}])

    def test_a_storage_that_cannot_be_read_is_the_services_failure(self) -> None:
        file_id = self.upload(PNG, "a.png")
        [stored] = (Path(settings.VAR_DIR) / "files" / self.alice.user.pk.hex).iterdir()
        stored.unlink()
        stored.mkdir()
        with self.assertRaises(openai.APIStatusError) as caught:
            self.parts(picture(file_id))
        self.assertEqual((caught.exception.status_code, caught.exception.code), (503, "storage_unavailable"))
        self.assertEqual(self.up.posts, [])
        stored.rmdir()

    def test_the_newest_files_are_sent_and_the_others_named(self) -> None:
        old, new = self.upload(b"o" * 600, "old.txt"), self.upload(b"n" * 600, "new.txt")
        small = self.upload(b"s" * 400, "small.txt")
        answer = {"role": "assistant", "content": "I see"}
        got = self.chat(asks("1", document(small)), answer, asks("2", document(old)), answer, asks("3", document(new)))
        self.assertIn(base64_of(b"s" * 400), str(got[0]))
        self.assertEqual(
            got[2]["content"][1]["text"],
            "[file old.txt is left out: the files of this request are too large together]",
        )
        self.assertIn(base64_of(b"n" * 600), str(got[4]))
        with self.assertRaises(openai.APIStatusError) as caught:
            self.parts(document(old), document(new))
        self.assertEqual(
            (caught.exception.status_code, caught.exception.param), (413, "messages[0].content[2].file.file_id")
        )
        self.assertIn("LIMIT_CONTENT_BODY_BYTES", caught.exception.message)

    def test_the_responses_api_on_both_kinds_of_upstream(self) -> None:
        seen, read = self.upload(PNG, "a.png"), self.upload(PDF, "a.pdf")
        content = [
            {"type": "input_text", "text": "What is it?"},
            {"type": "input_image", "file_id": seen},
            {"type": "input_file", "file_id": read},
        ]
        question = {"role": "user", "content": content}
        picture_url, file_data = (
            f"data:image/png;base64,{base64_of(PNG)}",
            f"data:application/pdf;base64,{base64_of(PDF)}",
        )
        first = self.openai.responses.create(model="native/ok", input=[question])
        item = self.up.posts[-1].body["input"][0]
        self.assertEqual(
            item["content"][1:],
            [
                {"type": "input_image", "image_url": picture_url, "detail": "auto"},
                {"type": "input_file", "filename": "a.pdf", "file_data": file_data},
            ],
        )
        self.openai.responses.create(model="ok", input="Sure?", previous_response_id=first.id)
        parts = self.up.posts[-1].body["messages"][0]["content"][1:]
        self.assertEqual((parts[0]["image_url"]["url"], parts[1]["file"]["file_data"]), (picture_url, file_data))
        [stored] = self.openai.responses.input_items.list(first.id).data
        self.assertEqual([part.file_id for part in stored.content[1:]], [seen, read])
        streamed = self.openai.responses.create(model="native/ok", input=[question], stream=True, store=False)
        self.assertEqual([event.type for event in streamed][-1], "response.completed")
        self.assertIn(picture_url, str(self.up.posts[-1].body))

    def test_a_tools_result_is_a_picture(self) -> None:
        output = [{"type": "input_image", "file_id": self.upload(PNG, "a.png")}]
        call = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
        result = {"type": "function_call_output", "call_id": "c1", "output": output}
        self.openai.responses.create(model="native/ok", input=[{"role": "user", "content": "Look"}, call, result])
        self.assertIn(f"data:image/png;base64,{base64_of(PNG)}", str(self.up.posts[-1].body["input"][-1]["output"]))

    def test_items_of_a_conversation_are_sent_with_the_next_question(self) -> None:
        talk = self.openai.conversations.create()
        item = {"role": "user", "content": [{"type": "input_image", "file_id": self.upload(PNG, "a.png")}]}
        self.openai.conversations.items.create(talk.id, items=[item])
        self.openai.responses.create(model="native/ok", input="What is it?", conversation=talk.id)
        self.assertIn(base64_of(PNG), str(self.up.posts[-1].body["input"][0]))

    def test_a_picture_counts_as_a_picture(self) -> None:
        file_id = self.upload(PNG, "a.png")
        tokens = []
        for part in (
            {"type": "input_image", "file_id": file_id},
            {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 400_000},
        ):
            body = {"model": "ok", "input": [{"role": "user", "content": [part]}]}
            tokens.append(self.openai.post("/responses/input_tokens", body=body, cast_to=object)["input_tokens"])
        self.assertEqual(tokens[0], tokens[1])
        self.assertLess(tokens[0], 1_100)


class RefusedTest(FileReferencesCase):
    def refusals(self, file_id: Any) -> list[Any]:
        """Return what each way to name a file answers to Bob."""
        image = {"role": "user", "content": [{"type": "input_image", "file_id": file_id}]}
        file = {"role": "user", "content": [{"type": "text", "text": "?"}, document(file_id)]}
        sound = asks("?", {"type": "input_audio", "input_audio": {"file_id": file_id}})
        old = [file, {"role": "assistant", "content": "Hm"}, file]
        call = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
        result = {"type": "function_call_output", "call_id": "c1", "output": image["content"]}
        bob = self.bob.http
        talk = bob.post(f"{self.running.url}/v1/conversations", json={}).json()["id"]
        answers = []
        for path, body, param in (
            (CHAT, {"messages": [asks("?", picture(file_id))]}, "messages[0].content[1].image_url.file_id"),
            (CHAT, {"messages": old}, "messages[2].content[1].file.file_id"),
            (CHAT, {"messages": [sound], "stream": True}, "messages[0].content[1].input_audio.file_id"),
            (CHAT, {"messages": [file, {"role": "assistant", "content": "I"}]}, "messages[0].content[1].file.file_id"),
            (CHAT, {"messages": [file], "store": False}, "messages[0].content[1].file.file_id"),
            ("/v1/responses", {"input": [image]}, "input[0].content[0].file_id"),
            ("/v1/responses", {"input": [image], "conversation": talk}, "input[0].content[0].file_id"),
            ("/v1/responses", {"input": [call, result]}, "input[1].output[0].file_id"),
            ("/v1/responses/compact", {"model": "ok", "input": [image]}, "input[0].content[0].file_id"),
            ("/v1/responses/input_tokens", {"input": [image]}, "input[0].content[0].file_id"),
            ("/v1/conversations", {"items": [image]}, "items[0].content[0].file_id"),
            (f"/v1/conversations/{talk}/items", {"items": [image, image]}, "items[0].content[0].file_id"),
        ):
            response = bob.post(f"{self.running.url}{path}", json={"model": "ok", **body})
            self.assertEqual(response.status_code, 400, (path, response.text))
            error = response.json()["error"]
            self.assertEqual((error["param"], error["code"]), (param, "file_not_found"), path)
            answers.append(error)
        self.assertEqual(self.up.posts, [])
        self.assertEqual(Message.objects.filter(conversation__owner=self.bob.user).count(), 0)
        return answers

    def test_somebody_elses_file_is_as_unknown_as_no_file(self) -> None:
        hers = self.upload(PNG, "secret.png")
        self.assertEqual(self.refusals(hers), self.refusals(UNKNOWN))

    def test_what_is_no_id_is_refused_alike(self) -> None:
        for file_id in ("file-abc", "../../etc/passwd", "x" * 5_000, 5, True, ["a"], {"a": 1}, UNKNOWN.upper()):
            for part in (picture(file_id), document(file_id)):
                response = self.bob.http.post(
                    f"{self.running.url}{CHAT}", json={"model": "ok", "messages": [asks("?", part)]}
                )
                self.assertEqual(response.status_code, 400, response.text)
                self.assertEqual(response.json()["error"]["code"], "file_not_found")
        self.assertEqual(self.up.posts, [])

    def test_nobody_elses_file_is_read_for_an_older_message(self) -> None:
        hers = self.upload(b"Alice's secret words", "secret.txt")
        bob: Any = self.client_of(self.bob)
        old = [asks("?", document(hers)), {"role": "assistant", "content": "Hm"}, {"role": "user", "content": "Well?"}]
        bob.chat.completions.create(model="ok", messages=old)
        sent = str(self.up.posts[-1].body)
        self.assertIn(f"[file {hers} is not available]", sent)
        self.assertNotIn("secret", sent)
        self.assertNotIn(base64_of(b"Alice's secret words"), sent)

    def test_what_is_beside_a_reference_does_not_matter(self) -> None:
        file_id = self.upload(PDF, "a.pdf")
        odd = {"type": "file", "file": {"file_id": file_id, "filename": 7, "file_url": "http://127.0.0.1/x", "x": [1]}}
        [got] = self.parts(odd)
        self.assertEqual(got["file"]["file_data"], f"data:application/pdf;base64,{base64_of(PDF)}")
        self.assertNotIn("file_url", got["file"])
        for part in (
            {"type": "file", "file": None},
            {"type": "file"},
            {"type": ["file"]},
            {"type": "image_url", "image_url": "x"},
        ):
            self.assertEqual(self.parts(part), [part])
