"""The pictures and files of exports come along: once, in their places, also for what was imported before."""

from __future__ import annotations

import io
import json
from pathlib import Path

from django.conf import settings
from django.core.management import call_command

from chatservice.testing import needs_dialect
from conversations.exporters import export_conversations
from conversations.importers import parse
from conversations.imports import in_batches
from conversations.models import Conversation, Message, MessagePart
from conversations.services import delete_conversation
from conversations.tests.attachments_case import PDF, AttachmentsCase, asks, multimodal, picture, points_to, recording
from conversations.tests.exports import chat, claude_message, node
from files.models import File
from files.public_ids import public_id

CLAUDE_FILE = "0f0e0d0c-0b0a-4908-8706-050403020100"


class ChatGPTTest(AttachmentsCase):
    def test_each_kind_is_stored_and_stands_where_it_stood(self) -> None:
        red, blue, webp, wav = picture(), picture("blue"), picture("red", "WEBP"), recording()
        uploads = [
            {"id": "file-AbC", "name": "my cat.png", "mime_type": "image/png", "size": 1},
            {"id": "file-PdF", "name": "../../whales.pdf", "mime_type": "application/pdf"},
        ]
        question = multimodal(
            "Look:",
            points_to("file-service://file-AbC"),
            "and",
            points_to("sediment://file_00ab?shared=1"),
            "\n\nwell?",
        )
        spoken = {
            "content_type": "real_time_user_audio_video_asset_pointer",
            "audio_asset_pointer": {"asset_pointer": "sediment://file_0wav", "content_type": "audio_asset_pointer"},
        }
        entry = chat(
            "talk",
            node("q", None, content=question, metadata={"attachments": uploads}),
            node("d", "q", "tool", content=multimodal(points_to("file-service://file-Dal")), author="dalle.text2im"),
            node("v", "d", content=multimodal({"content_type": "audio_transcription", "text": "More"}, spoken)),
        )
        members = {
            "file-AbC-cat.png": red,
            "user-1x/file_00ab-11111111-2222-4333-8444-555555555555.png": blue,
            "file-PdF.dat": PDF,
            "dalle-generations/file-Dal-66666666-2222-4333-8444-555555555555.webp": webp,
            "66666666-2222-4333-8444-555555555555/audio/file_0wav.wav": wav,
            "file-NobodyRefersToIt.png": picture("green"),
            "conversation_asset_file_names.json": {"file-PdF.dat": "other.pdf", "file-AbC-cat.png": "x/cat.png"},
        }
        told = self.bring_in(self.zip([entry], members))
        self.assertIn("5 pictures and files stored.", told)
        self.assertNotIn("Left out", told)
        self.assertEqual(self.contents(), sorted([red, blue, webp, wav, PDF]))
        by_name = {file.name: file for file in self.files()}
        names = {"my cat.png", "whales.pdf", "11111111-2222-4333-8444-555555555555.png", "file_0wav.wav"}
        self.assertEqual(set(by_name), {*names, "66666666-2222-4333-8444-555555555555.webp"})
        ids = {name: public_id(file.pk) for name, file in by_name.items()}
        types = {file.media_type for file in self.files()}
        self.assertEqual(types, {"image/png", "image/webp", "application/pdf", "audio/wav"})
        self.assertTrue(all(file.from_message and file.expires_at is None for file in self.files()))
        asked, drawn, heard = self.wires("talk")
        blue_id = ids["11111111-2222-4333-8444-555555555555.png"]
        self.assertEqual(
            asked["content"],
            [
                {"type": "text", "text": "Look:"},
                {"type": "image_url", "image_url": {"file_id": ids["my cat.png"]}},
                {"type": "text", "text": "and"},
                {"type": "image_url", "image_url": {"file_id": blue_id}},
                {"type": "text", "text": "well?"},
                {"type": "file", "file": {"file_id": ids["whales.pdf"], "filename": "whales.pdf"}},
            ],
        )
        self.assertEqual(drawn["role"], "assistant")
        self.assertEqual([part["type"] for part in drawn["content"]], ["image_url"])
        self.assertEqual([part["type"] for part in heard["content"]], ["text", "input_audio"])
        self.assertEqual(
            Message.objects.get(conversation__owner=self.alice.user, source_id="q").content, "Look:\nand\nwell?"
        )
        referred = MessagePart.objects.filter(message__conversation__owner=self.alice.user, file__isnull=False)
        self.assertEqual({part.file_id for part in referred}, {file.pk for file in self.files()})
        self.check_digests("talk")

    def test_the_owner_gets_them_by_the_api_and_nobody_else_does(self) -> None:
        needs_dialect("openai_v1")
        red = picture()
        entry = asks("talk", "Look", points_to("file-service://file-AbC"))
        self.bring_in(self.zip([entry], {"file-AbC.png": red}))
        [file] = self.files()
        talk = Conversation.objects.get(owner=self.alice.user)
        items = self.alice.http.get(f"/v1/conversations/conv_{talk.pk.hex}/items").json()["data"]
        shown = [part.get("file_id") for item in items for part in item["content"]]
        self.assertEqual(shown, [None, public_id(file.pk)])
        path = f"/v1/files/{public_id(file.pk)}/content"
        answer = self.alice.http.get(path)
        self.assertEqual((answer.status_code, answer.content, answer.headers["Content-Type"]), (200, red, "image/png"))
        self.assertEqual(self.bob.http.get(path).status_code, 404)
        said = [{"role": "user", "content": self.wires("talk")[0]["content"]}]
        body = {"model": "echo", "messages": [*said, {"role": "user", "content": "What is it?"}]}
        self.assertEqual(self.alice.http.post("/v1/chat/completions", json=body).status_code, 200)
        self.assertEqual(self.bob.http.post("/v1/chat/completions", json=body).status_code, 400)

    def test_importing_the_same_again_adds_nothing_and_reads_no_file(self) -> None:
        entry = asks("talk", "Look", points_to("file-service://file-AbC"), points_to("file-service://file-Gone"))
        bare = asks("bare", points_to("file-service://file-AbC"))
        path = self.zip([entry, bare], {"file-AbC.png": picture()})
        self.assertIn("1 pictures and files stored.", self.bring_in(path))
        before = self.rows()
        for _ in range(2):
            told = self.bring_in(path)
            self.assertEqual(self.rows(), before)
            self.assertIn("0 conversations imported, 0 extended, 2 unchanged, 0 skipped; 0 messages added.", told)
            self.assertNotIn("updated", told)
        self.bring_in(self.zip([entry], {}))  # a later export without it
        self.assertEqual(self.rows(), before)
        self.bring_in(self.zip([bare], {"file-AbC.png": b"another"}))
        self.assertEqual(self.rows(), before)

    def test_one_picture_of_many_conversations_is_stored_once(self) -> None:
        red = picture()
        entries = [asks(f"talk{at}", "Look", points_to(f"sediment://file_{at:02}")) for at in range(10)]
        self.bring_in(self.zip(entries, {f"file_{at:02}.dat": red for at in range(10)}))
        [file] = self.files()
        self.assertEqual(MessagePart.objects.filter(file_id=file.pk).count(), 10)
        held = Path(settings.VAR_DIR) / "files" / self.alice.user.pk.hex
        self.assertEqual([each.name for each in held.iterdir()], [file.sha256])
        bobs = File.objects.filter(owner=self.bob.user)
        path = self.zip(entries, {"file_00.dat": red})
        call_command("import_history", path, "--user", self.bob.user.username, "--no-progress", stdout=io.StringIO())
        self.assertNotEqual(bobs.get().pk, file.pk)

    def test_what_was_imported_without_pictures_gets_them(self) -> None:
        nodes = [
            node("q", None, content=multimodal(points_to("file-service://file-AbC"), "What is it?")),
            node("a", "q", "assistant", ["A cat."]),
            node("p", "a", parts=["Sum this up"], metadata={"attachments": [{"id": "file-PdF", "name": "a.pdf"}]}),
        ]
        plain = self.folder / "conversations.json"
        plain.write_text(json.dumps([chat("talk", *nodes)]))
        told = self.bring_in(plain)
        self.assertIn("Left out: file that is not in the export (2).", told)
        said = [wire["content"] for wire in self.wires("talk")]
        self.assertEqual(
            said, ["[image: file-service://file-AbC]\n\nWhat is it?", "A cat.", "Sum this up\n\n[file: a.pdf]"]
        )
        ids = [*Message.objects.filter(conversation__owner=self.alice.user).order_by("id").values_list("id", flat=True)]
        told = self.bring_in(self.zip([chat("talk", *nodes)], {"file-AbC.png": picture()}))
        self.assertIn("1 messages of an earlier import were updated.", told)
        told = self.bring_in(self.zip([chat("talk", *nodes)], {"file-AbC.png": picture(), "file-PdF.dat": PDF}))
        self.assertIn("1 messages of an earlier import were updated.", told)
        self.assertNotIn("Left out", told)
        asked, _, summed = self.wires("talk")
        self.assertEqual([part["type"] for part in asked["content"]], ["image_url", "text"])
        self.assertEqual([part["type"] for part in summed["content"]], ["text", "file"])
        found = Message.objects.filter(conversation__owner=self.alice.user).order_by("id")
        self.assertEqual([*found.values_list("id", flat=True)], ids)
        self.check_digests("talk")

    def test_what_an_earlier_version_read_without_the_names_of_files_gets_them(self) -> None:
        about = {"attachments": [{"id": "file-PdF", "name": "a.pdf"}]}
        entry = chat("talk", node("q", None, parts=["Sum this up"]))
        self.bring_in(self.zip([entry], {}))
        entry["mapping"]["q"]["message"]["metadata"] = about
        self.bring_in(self.zip([entry], {"file-PdF.dat": PDF}))
        self.assertEqual(self.parts("talk"), ["Sum this up", ("file", PDF)])
        self.check_digests("talk")
        before = self.rows()
        for files in ({"file-PdF.dat": PDF}, {}):  # the text beside the file is the former text
            self.assertNotIn("updated", self.bring_in(self.zip([entry], files)))
            self.assertEqual(self.rows(), before)

    def test_one_that_had_a_part_of_its_pictures_gets_the_others(self) -> None:
        red, blue = picture(), picture("blue")
        entry = asks("talk", points_to("file-service://file-A"), "and", points_to("file-service://file-B"))
        self.bring_in(self.zip([entry], {"file-B.png": blue}))
        self.assertEqual(self.parts("talk"), ["[image: file-service://file-A]\n\nand", ("image_url", blue)])
        both = self.zip([entry], {"file-A.png": red, "file-B.png": blue})
        self.assertIn("1 messages of an earlier import were updated.", self.bring_in(both))
        self.assertEqual(self.parts("talk"), [("image_url", red), "and", ("image_url", blue)])
        before = self.rows()
        self.bring_in(both)
        self.assertEqual(self.rows(), before)
        self.check_digests("talk")

    def test_what_was_deleted_comes_back_with_its_pictures(self) -> None:
        red = picture()
        path = self.zip([asks("talk", "Look", points_to("file-service://file-AbC"))], {"file-AbC.png": red})
        self.bring_in(path)
        [file] = self.files()
        delete_conversation(conversation=Conversation.objects.get(owner=self.alice.user))
        self.assertEqual(self.files(), [])
        self.bring_in(path)
        self.assertEqual(self.parts("talk"), ["Look", ("image_url", red)])
        self.assertEqual([each.pk for each in self.files()], [file.pk])

    def test_citations_keep_their_places_beside_pictures(self) -> None:
        mark = "\ue200cite\ue202turn0search0\ue201"
        about = {
            "content_references": [
                {"matched_text": mark, "items": [{"title": "Whales", "url": "https://example.org/w"}], "type": "x"}
            ]
        }
        said = multimodal(points_to("file-service://file-AbC"), f"They sleep {mark}.", "Good night.")
        entry = chat("talk", node("q", None), node("a", "q", "assistant", content=said, metadata=about))
        self.bring_in(self.zip([entry], {"file-AbC.png": picture()}))
        message = Message.objects.get(conversation__owner=self.alice.user, source_id="a")
        cited = message.as_wire()["annotations"][0]["url_citation"]
        self.assertEqual(
            message.content[cited["start_index"] : cited["end_index"]], "([Whales](https://example.org/w))"
        )

    def test_an_unpacked_folder_gives_its_files_and_none_that_a_link_leads_to(self) -> None:
        red = picture()
        secret = self.folder / "secret.txt"
        secret.write_text("not hers")
        export = self.folder / "export"
        (export / "user-1").mkdir(parents=True)
        parts = ["Look", points_to("file-service://file-AbC"), points_to("file-service://file-Link")]
        (export / "conversations-000.json").write_text(json.dumps([asks("talk", *parts)]))
        (export / "user-1" / "file-AbC-cat.png").write_bytes(red)
        (export / "file-Link.txt").symlink_to(secret)
        told = self.bring_in(export)
        self.assertEqual(self.contents(), [red])
        self.assertIn("file that is not in the export (1)", told)


class OwnExportTest(AttachmentsCase):
    def test_pictures_in_our_exports_become_files_of_whoever_imports_them(self) -> None:
        red = picture()
        entry = asks("talk", "Look", points_to("file-service://file-AbC"))
        self.bring_in(self.zip([entry], {"file-AbC.png": red}))
        for format in ("chatgpt", "jsonl"):
            exported = "".join(export_conversations(Conversation.objects.filter(owner=self.alice.user), format))
            path = self.folder / f"{format}.json"
            path.write_text(exported)
            for _ in range(2):
                command = ("import_history", path, "--user", self.bob.user.username, "--no-progress")
                call_command(*command, stdout=io.StringIO())
            [file] = File.objects.filter(owner=self.bob.user)
            [message] = Message.objects.filter(conversation__owner=self.bob.user)
            [part] = message.parts.filter(kind="image")
            self.assertEqual((part.file_id, file.sha256), (file.pk, self.files()[0].sha256))
            self.assertNotIn("base64", json.dumps(message.as_wire()))
            delete_conversation(conversation=message.conversation)
            self.assertFalse(File.objects.filter(owner=self.bob.user).exists())

    def test_conversations_with_much_in_them_are_stored_one_by_one(self) -> None:
        parts = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'A' * 1_200_000}"}}]
        talks = [parse({"id": f"t{at}", "messages": [{"role": "user", "content": parts}]}) for at in range(3)]
        self.assertEqual([len(batch) for batch in in_batches(talks)], [1, 1, 1])


class ClaudeTest(AttachmentsCase):
    def test_files_come_along_by_their_ids_and_texts_stay(self) -> None:
        red = picture()
        gone = "1f0e0d0c-0b0a-4908-8706-050403020100"
        blue, block_id = picture("blue"), "2f0e0d0c-0b0a-4908-8706-050403020100"
        said = claude_message(
            "q",
            content=[
                {"type": "text", "text": "Look"},
                {"type": "image", "file_uuid": block_id, "file_name": "sea.png"},
                {"type": "text", "text": "and at"},
            ],
            attachments=[{"file_name": "notes.txt", "extracted_content": "milk"}],
            files=[{"file_uuid": CLAUDE_FILE, "file_name": "../cat.png"}, {"file_uuid": gone, "file_name": "cat.png"}],
            files_v2=[{"file_uuid": CLAUDE_FILE, "file_name": "cat.png"}],
        )
        entry = {"uuid": "talk", "name": "Cats", "chat_messages": [said]}
        path = self.zip([entry], {f"files/{CLAUDE_FILE}/cat.png": red, f"{block_id}.png": blue, "cat.png": b"?"})
        told = self.bring_in(path)
        self.assertIn("2 pictures and files stored.", told)
        self.assertIn("Left out: file that is not in the export (1).", told)
        self.assertEqual(
            self.parts("talk"),
            [
                "Look",
                ("image_url", blue),
                "and at\n\n[attachment: notes.txt]\nmilk",
                ("image_url", red),
                "[file: cat.png]",
            ],
        )
        self.assertEqual({file.name for file in self.files()}, {"cat.png", "sea.png"})
        before = self.rows()
        self.assertIn("0 messages added", self.bring_in(path))
        self.assertEqual(self.rows(), before)

    def test_earlier_imports_get_them(self) -> None:
        files = [{"file_uuid": CLAUDE_FILE, "file_name": "cat.png"}]
        entry = {"uuid": "talk", "chat_messages": [claude_message("q", text="Hm", content=[], files=files)]}
        self.bring_in(self.zip([entry], {}))
        self.assertEqual(self.parts("talk"), "Hm\n\n[file: cat.png]")
        self.bring_in(self.zip([entry], {f"{CLAUDE_FILE}-cat.png": picture()}))
        self.assertEqual(self.parts("talk"), ["Hm", ("image_url", picture())])
