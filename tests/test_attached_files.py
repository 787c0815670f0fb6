"""Files in the APIs beside OpenAI's: how they are shown, what an edit keeps, and what a question with files may be."""

from __future__ import annotations

import datetime as dt
import json
import time
import uuid
from typing import Any

from django.core.files.base import ContentFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from chatservice.dialects.attached_files import attached_files
from chatservice.dialects.contract_files import PICTURE, PNG, UNKNOWN
from chatservice.testing import ApiUser, ServiceTestCase, needs_dialect, sse_data, tried_once, wait_until
from chatservice.testing.sockets import Socket
from conversations.file_parts import extras_with, part_of
from conversations.models import Conversation, Message
from conversations.services import append_message, edit_message, start_conversation
from files.models import File, FileText
from files.public_ids import public_id
from files.services import delete_file, store_file
from files.tests import documents
from files.texts import read_next

WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(64)
V1 = "/v1/chat"
TALKS = f"{V1}/conversations"
FILES = "files { id name mediaType bytes text textDetails }"
EDIT = "mutation($id: ID!, $text: String!, $files: [ID!]) { it: editMessage(id: $id, content: $text, fileIds: $files)"
EDIT += f" {{ content {FILES} }} }}"


@tried_once
class AttachedFilesCase(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        needs_dialect("chat_v1", "graphql", "resources", "chat", "websocket", "openai_v1")
        self.picture = self.store(PNG, "whale.png")
        self.sound = self.store(WAV, "song.wav")
        self.text = self.store(b"Whales sleep.", "notes.txt")

    def store(self, content: bytes, name: str, owner: ApiUser | None = None) -> File:
        owner_id = (owner or self.alice).user.pk
        file = store_file(owner_id=owner_id, content=ContentFile(content), name=name, purpose="user_data")
        read_next()
        text = FileText.objects.of(owner_id, file.sha256)
        wait_until(lambda: not text.waiting().exists(), what="the text of the file")  # the service reads, too
        return file

    def ids(self, *files: File) -> list[str]:
        return [public_id(file.pk) for file in files]

    def shape(self, file: File, text: str = "", details: str | None = None) -> dict[str, Any]:
        return {
            "id": public_id(file.pk),
            "name": file.name,
            "media_type": file.media_type,
            "bytes": file.size,
            "text": text or ("read" if file.media_type.startswith("text/") else "unsupported"),
            "text_details": details,
        }

    def gone(self, file: File) -> dict[str, Any]:
        return {**dict.fromkeys(self.shape(file)), "id": public_id(file.pk)}

    def post(self, path: str, body: Any, status: int = 201) -> Any:
        response = self.alice.http.post(path, json=body)
        self.assertEqual(response.status_code, status, response.text)
        return response.json()

    def get(self, path: str) -> Any:
        response = self.alice.http.get(path)
        self.assertEqual(response.status_code, 200, response.text)
        return response.json()

    def graph(self, query: str, **variables: Any) -> Any:
        body = self.post("/graphql", {"query": query, "variables": variables}, 200)
        self.assertNotIn("errors", body)
        return body["data"]["it"]

    def socket(self) -> Socket:
        return Socket(self.service.websocket_url, additional_headers=self.alice.headers)

    def ask(self, *files: File, text: str = "What is it?", model: str = "fake/ok") -> list[dict[str, Any]]:
        """Ask in a new conversation of the v1 document; return question and answer."""
        talk = self.post(TALKS, {})["data"]["id"]
        body = {"content": text, "model": model, "file_ids": self.ids(*files)}
        messages: list[dict[str, Any]] = self.post(f"{TALKS}/{talk}/messages", body)["data"]
        return messages

    def newest(self) -> Message:
        return Message.objects.filter(conversation__owner=self.alice.user, role="user").latest("id")

    def sent(self) -> Any:
        """Return the content of the last question of a user that the model's server got."""
        return [wire for wire in self.upstream.posts[-1].body["messages"] if wire["role"] == "user"][-1]["content"]


class ShownTest(AttachedFilesCase):
    def shown(self, message: Message) -> dict[str, Any]:
        """Return the files of a message as each API shows them, with their fields in one style."""
        talk, pk = message.conversation_id, str(message.pk)
        listed = self.get(f"{TALKS}/{talk}/messages")["data"]
        history = self.get(f"/conversations/{talk}")["messages"]
        numbered = self.get(f"/conversations/{talk}/messages")
        browser = self.get(f"/chat/conversation/{talk}/messages")
        graph = self.graph(f"query($id: ID!) {{ it: message(id: $id) {{ {FILES} }} }}", id=pk)["files"]
        return {
            "v1 list": next(each["files"] for each in listed if each["id"] == pk),
            "v1": self.get(f"{V1}/messages/{pk}")["data"]["files"],
            "history": next(each.get("files") for each in history if each["role"] == "user"),
            "numbered": next(each.get("files") for each in numbered if each["id"] == message.position),
            "message": self.get(f"/conversations/{talk}/messages/{message.position}").get("files"),
            "browser": plain(next(each.get("files") for each in browser if each["id"] == pk)),
            "graph": plain(graph),
        }

    def assert_shown(self, message: Message, *files: dict[str, Any]) -> None:
        shown = self.shown(message)
        self.assertEqual(shown, {name: [*files] for name in shown})

    def test_every_api_shows_what_any_of_them_was_asked(self) -> None:
        files, ids = [self.picture, self.sound, self.text], self.ids(self.picture, self.sound, self.text)
        kinds = ["text", "image_url", "input_audio", "file"]
        text, model = "Tell me whether they are whales", "fake/ok"
        browser = self.get("/chat/conversation")["id"]
        parts = [{"type": "text", "text": text}, *(part_of(public_id(each.pk), each.media_type) for each in files)]

        def by_socket() -> None:
            with self.socket() as socket:
                frames = socket.ask(text, model=model, file_ids=ids)
            self.assertEqual(frames[0]["data"]["userMessage"]["files"], [self.shape(each) for each in files])
            self.assertEqual(frames[-1]["data"]["files"], [])

        def by_stream() -> None:
            response = self.alice.http.post(f"{TALKS}/stream", json={"content": text, "model": model, "file_ids": ids})
            created = json.loads(sse_data(response.text)[0])["data"]["userMessage"]
            self.assertEqual(created["files"], [self.shape(each) for each in files])

        def by_browser() -> None:
            self.post(f"/chat/conversation/{browser}/message", {"content": text, "fileIds": ids})
            self.alice.http.get(f"/chat/conversation/{browser}/stream?model={model}")

        send = 'mutation($text: String!, $files: [ID!]) { it: sendMessage(content: $text, model: "fake/ok",'
        send += f" fileIds: $files) {{ question {{ {FILES} }} }} }}"
        for ask in (
            lambda: self.ask(*files, text=text),
            by_stream,
            by_socket,
            by_browser,
            lambda: self.graph(send, text=text, files=ids),
            lambda: self.post("/conversations/start", {"message": text, "model": model, "file_ids": ids}, 200),
            lambda: self.post("/v1/chat/completions", {"model": model, "messages": [asked(parts)]}, 200),
        ):
            ask()
            self.assertEqual([part["type"] for part in self.sent()], kinds)
            self.assert_shown(self.newest(), *(self.shape(each) for each in files))

    def test_a_search_shows_the_files_of_what_it_finds(self) -> None:
        word = f"w{uuid.uuid4().hex[:10]}"
        self.ask(self.picture, text=f"Is the {word} asleep?")
        query = (
            f'{{ it: search(query: "{word}", mode: "text") {{ edges {{ node {{ message {{ role {FILES} }} }} }} }} }}'
        )
        # The index is updated after the messages.
        wait_until(lambda: self.get(f"/search?mode=text&role=user&q={word}"), what="the index of the question")
        [by_number] = self.get(f"/search?mode=text&role=user&q={word}")
        [hit] = self.get(f"{V1}/search?mode=text&role=user&q={word}")["data"]
        nodes = [edge["node"]["message"] for edge in self.graph(query)["edges"]]
        [node] = [plain(message["files"]) for message in nodes if message["role"] == "user"]
        found = [by_number["message"]["files"], hit["message"]["files"], node]
        self.assertEqual(found, [[self.shape(self.picture)]] * 3)

    def test_what_is_gone_stays_listed_without_its_name(self) -> None:
        expired = self.store(b"Whales do not sleep.", "other.txt")
        self.ask(self.text, expired, self.picture)
        delete_file(file=self.text)
        File.objects.filter(pk=expired.pk).update(expires_at=timezone.now() - dt.timedelta(seconds=1))
        self.assert_shown(self.newest(), self.gone(self.text), self.gone(expired), self.shape(self.picture))

    def test_a_file_that_cannot_be_read_is_sent_and_says_so(self) -> None:
        good, scan = self.store(documents.pdf("Whales sleep."), "good.pdf"), self.store(documents.pdf(""), "scan.pdf")
        broken = self.store(b"%PDF-1.7\n nothing", "broken.pdf")
        locked = self.store(documents.encrypted_pdf("secret", "pass"), "locked.pdf")
        waiting, packed = self.store(b"Later.", "later.txt"), self.store(b"\x1f\x8b\x08" + bytes(90), "whales.gz")
        FileText.objects.of(waiting.owner_id, waiting.sha256).update(state="waiting", claimed_until=time.time() + 600)
        said = (
            (good, "read", None),
            (broken, "failed", "The text of this file cannot be read: the file is damaged."),
            (locked, "failed", "The text of this file is protected by a password."),
            (scan, "empty", "This file has no text."),
            (waiting, "waiting", "The text of this file has not been read yet."),
            (packed, "unsupported", "The text of this file is not read."),
            (self.picture, "unsupported", None),
        )
        shapes = [self.shape(*each) for each in said]
        with self.socket() as socket:
            frames = socket.ask("What is it?", model="fake/ok", file_ids=self.ids(*(file for file, *_ in said)))
        self.assertEqual(frames[0]["data"]["userMessage"]["files"], shapes)
        self.assertEqual(len(self.sent()), 1 + len(said))
        message = self.newest()
        self.assert_shown(message, *shapes)
        on_the_page = [each["text_details"] for each in self.get(f"/files?message={message.pk}")[str(message.pk)]]
        self.assertEqual(on_the_page, ["" if text == "waiting" else details or "" for _, text, details in said])

    def test_somebody_elses_file_in_an_older_message_is_shown_as_gone(self) -> None:
        his = self.store(PNG, "secret.png", owner=self.bob)
        parts = [{"type": "text", "text": "Look"}, part_of(public_id(his.pk), his.media_type)]
        old = [asked(parts), {"role": "assistant", "content": "Hm"}, asked("Well?")]
        self.post("/v1/chat/completions", {"model": "fake/ok", "messages": old}, 200)
        message = Message.objects.get(conversation__owner=self.alice.user, position=1)
        self.assert_shown(message, self.gone(his))

    def test_messages_without_files_need_no_query_and_many_with_files_two(self) -> None:
        talk = start_conversation(owner_id=self.alice.user.pk)
        parts = [part_of(public_id(file.pk), file.media_type) for file in (self.picture, self.text)]
        plain = [append_message(conversation=talk, role="user", content="Hm") for _ in range(3)]
        with_files = [
            append_message(conversation=talk, role="user", content="Hm", extras=extras_with("Hm", parts))
            for _ in range(30)
        ]
        with CaptureQueriesContext(connection) as queries:
            self.assertEqual(attached_files(plain), {})
        self.assertEqual(len(queries), 0)
        with CaptureQueriesContext(connection) as queries:
            found = attached_files([*plain, *with_files])
        self.assertEqual(len(queries), 2)
        self.assertEqual({len(files) for files in found.values()}, {2})
        self.assertEqual(set(found), {message.pk for message in with_files})


class AskedTest(AttachedFilesCase):
    def test_the_text_may_be_empty_beside_files_and_only_there(self) -> None:
        ids, talk = self.ids(self.picture), self.post(TALKS, {})["data"]["id"]
        no_files: tuple[Any, ...] = (None, [])
        with self.socket() as socket:
            socket.ask(" ", model="fake/ok", file_ids=ids)
            self.assertEqual([part["type"] for part in self.sent()], ["image_url"])
            for wrong in no_files:
                socket.say(type="send", content=" ", file_ids=wrong)
                self.assertEqual(socket.read()["data"]["code"], "invalid_frame")
        send = 'mutation($f: [ID!]) { it: sendMessage(content: "", model: "fake/ok", fileIds: $f) { runId } }'
        self.graph(send, f=ids)
        self.assertEqual([part["type"] for part in self.sent()], ["image_url"])
        for path, field, status in (
            (f"{TALKS}/{talk}/messages", "content", 201),
            ("/conversations/start", "message", 200),
            (f"/conversations/{talk}/message", "message", 200),
        ):
            self.post(path, {field: "\n", "model": "fake/ok", "file_ids": ids}, status)
            self.assertEqual([part["type"] for part in self.sent()], ["image_url"])
            for wrong in no_files:
                self.post(path, {field: "", "file_ids": wrong}, 400)

    def test_only_a_user_says_something_with_files(self) -> None:
        talk, ids = self.post(TALKS, {})["data"]["id"], self.ids(self.picture)
        said = {"content": "Look", "file_ids": ids}
        for role in ("system", "assistant"):
            for path in (f"{TALKS}/{talk}/messages", f"/conversations/{talk}/messages"):
                error = self.post(path, {**said, "role": role}, 400)
                self.assertIn("file_ids", error["error"]["details"])
        self.assertFalse(Message.objects.filter(conversation=talk).exists())

    def test_the_same_request_under_the_same_key_is_asked_once(self) -> None:
        other = self.store(PNG + b"!", "other.png")
        talk = self.post(TALKS, {})["data"]["id"]
        for path, field, status in (
            (f"{TALKS}/{talk}/messages", "content", 201),
            ("/conversations/start", "message", 200),
        ):
            said = {field: "Look", "model": "fake/ok", "client_message_id": path, "file_ids": self.ids(self.picture)}
            before = len(self.upstream.posts)
            self.assertEqual(self.post(path, said, status), self.post(path, said, status))
            self.assertEqual(len(self.upstream.posts), before + 1)
            self.post(path, {**said, "file_ids": self.ids(other)}, 422)
        with self.socket() as socket:
            first, again = (
                socket.ask("Look", model="fake/ok", client_id="c", file_ids=self.ids(self.picture))[-1]
                for _ in range(2)
            )
            self.assertEqual(first["run_id"], again["run_id"])
            socket.say(type="send", content="Look", model="fake/ok", client_id="c", file_ids=self.ids(other))
            self.assertEqual(socket.read()["data"]["code"], "idempotency_mismatch")

    def test_file_ids_do_not_go_to_the_models_server(self) -> None:
        self.ask(self.picture)
        self.assertEqual(set(self.upstream.posts[-1].body) & {"file_ids", "fileIds"}, set())

    def test_an_error_names_the_file(self) -> None:
        talk, ids = self.post(TALKS, {})["data"]["id"], [*self.ids(self.picture), UNKNOWN]
        browser = self.get("/chat/conversation")["id"]
        for path, body, name in (
            (f"{TALKS}/{talk}/messages", {"content": "?"}, "file_ids"),
            (f"{TALKS}/{talk}/messages/stream", {"content": "?"}, "file_ids"),
            (f"{TALKS}/stream", {"content": "?"}, "file_ids"),
            ("/conversations/start", {"message": "?"}, "file_ids"),
            (f"/conversations/{talk}/message", {"message": "?"}, "file_ids"),
            (f"/conversations/{talk}/messages", {"role": "user", "content": "?"}, "file_ids"),
            (f"/chat/conversation/{browser}/message", {"content": "?"}, "fileIds"),
        ):
            error = self.post(path, {**body, name: ids}, 400)["error"]
            details = {f"{name}[1]": ["There is no such file."]}
            self.assertEqual((error["code"], error["details"]), ("file_not_found", details), path)
        send = 'mutation($f: [ID!]) { sendMessage(content: "?", fileIds: $f) { runId } }'
        [error] = self.post("/graphql", {"query": send, "variables": {"f": ids}}, 200)["errors"]
        self.assertEqual((error["extensions"]["code"], error["extensions"]["param"]), ("file_not_found", "fileIds[1]"))
        with self.socket() as socket:
            socket.say(type="send", content="?", file_ids=ids)
            data = socket.read()["data"]
        del data["request_id"]
        self.assertEqual(data, {"code": "file_not_found", "message": "'file_ids[1]': There is no such file."})


class KeptTest(AttachedFilesCase):
    def test_regenerating_and_continuing_send_the_picture_again(self) -> None:
        _, answer = self.ask(self.picture)
        for path in ("regenerate", "regenerate/stream"):
            self.alice.http.post(f"{V1}/messages/{answer['id']}/{path}", json={"model": "fake/ok"}).raise_for_status()
            self.assertEqual(self.sent()[1]["image_url"]["url"], PICTURE)
        query = 'mutation($id: ID!) { it: regenerate(messageId: $id, model: "fake/ok") { runId } }'
        self.graph(query, id=answer["id"])
        self.assertEqual(self.sent()[1]["image_url"]["url"], PICTURE)
        self.alice.http.post(f"{TALKS}/{answer['conversation_id']}/messages", json={"content": "?", "model": "fake/ok"})
        self.assertEqual(self.upstream.posts[-1].body["messages"][0]["content"][1]["image_url"]["url"], PICTURE)
        body = {"content": "?", "model": "fake/truncated", "file_ids": self.ids(self.picture)}
        self.alice.http.post(f"{TALKS}/stream", json=body)
        broken = Message.objects.filter(conversation__owner=self.alice.user, role="assistant").latest("id")
        self.post(f"{V1}/messages/{broken.pk}/continue", {"model": "fake/ok"})
        self.assertEqual(self.sent()[1]["image_url"]["url"], PICTURE)

    def edit_by_graph(self, message: Message, text: str, files: list[str] | None) -> list[dict[str, Any]]:
        edited = self.graph(EDIT, id=str(message.pk), text=text, files=files)
        self.assertEqual(edited["content"], text)
        return plain(edited["files"])

    def edit_by_number(self, message: Message, text: str, files: list[str] | None) -> list[dict[str, Any]]:
        path = f"/conversations/{message.conversation_id}/messages/{message.position}"
        body = {"content": text, **({} if files is None else {"file_ids": files})}
        response = self.alice.http.patch(path, json=body)
        self.assertEqual((response.status_code, response.json()["content"]), (200, text), response.text)
        files_shown: list[dict[str, Any]] = response.json().get("files", [])
        return files_shown

    def test_an_edit_keeps_the_files_unless_it_names_others(self) -> None:
        for edit in (self.edit_by_graph, self.edit_by_number):
            self.ask(self.picture, self.sound)
            question = self.newest()
            kept = [self.shape(self.picture), self.shape(self.sound)]
            self.assertEqual(edit(question, "And this?", None), kept)
            talk = question.conversation_id
            self.post(f"/conversations/{talk}/messages:complete", {"model": "fake/ok"}, 200)
            self.assertEqual([part["type"] for part in self.sent()], ["text", "image_url", "input_audio"])
            self.assertEqual(self.sent()[0]["text"], "And this?")
            self.assertEqual(edit(self.newest(), "This alone?", self.ids(self.text)), [self.shape(self.text)])
            self.assertEqual(edit(question, "Nothing?", []), [])
            self.post(f"/conversations/{talk}/messages:complete", {"model": "fake/ok"}, 200)
            self.assertEqual(self.sent(), "Nothing?")

    def test_an_edit_is_refused_as_a_question_would_be(self) -> None:
        self.ask(self.picture)
        question = self.newest()
        before = Message.objects.filter(conversation=question.conversation_id).count()
        path = f"/conversations/{question.conversation_id}/messages"
        his = public_id(self.store(PNG, "his.png", owner=self.bob).pk)
        for position, files, code in (
            (1, [his], "file_not_found"),
            (1, [UNKNOWN], "file_not_found"),
            (2, self.ids(self.picture), "validation_error"),
        ):
            body = {"content": "?", "file_ids": files}
            response = self.alice.http.patch(f"{path}/{position}", json=body)
            self.assertEqual((response.status_code, response.json()["error"]["code"]), (400, code))
            message = Message.objects.get(conversation=question.conversation_id, position=position)
            variables = {"id": str(message.pk), "text": "?", "files": files}
            [error] = self.post("/graphql", {"query": EDIT, "variables": variables}, 200)["errors"]
            self.assertEqual((error["extensions"]["code"], error["extensions"]["status"]), (code, 400))
        self.assertEqual(Message.objects.filter(conversation=question.conversation_id).count(), before)

    def test_an_edit_keeps_pictures_of_other_hosts_too(self) -> None:
        talk = Conversation.objects.create(owner=self.alice.user)
        elsewhere = {"type": "image_url", "image_url": {"url": "https://example.org/whale.png", "detail": "low"}}
        parts = [{"type": "text", "text": "Look"}, elsewhere, part_of(self.ids(self.picture)[0], "image/png")]
        message = append_message(conversation=talk, role="user", content="Look", extras={"content": parts})
        edited = edit_message(message=message, content="Look here")
        self.assertEqual(edited.as_wire()["content"], [{"type": "text", "text": "Look here"}, *parts[1:]])
        self.assertEqual(edited.content, "Look here")


def asked(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def plain(files: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return files of an API in camelCase with the field names of the others."""
    names = {"mediaType": "media_type", "textDetails": "text_details"}
    return [{names.get(name, name): value for name, value in file.items()} for file in files]
