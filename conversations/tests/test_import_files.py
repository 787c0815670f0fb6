"""Files exported by other services: zips, shards and folders, damaged ones and malicious ones."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.test import SimpleTestCase

from conversations.importers import read_history
from conversations.importers.values import Broken, ImportedConversation, Skipped, Unreadable
from conversations.tests.exports import chat, claude_message, node, write_zip

LARGEST = 1 << 20
READ = """
import json, re, sys
from pathlib import Path
from conversations.importers import read_history

history = read_history(Path(sys.argv[1]), largest=int(sys.argv[2]))
found = [(type(each).__name__, getattr(each, "reason", "")) for each in history]
# The most memory that this program ever had; what getrusage tells may be that of the one which started it.
print(json.dumps([found, int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])]))
"""


class FilesTest(SimpleTestCase):
    def setUp(self):
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.folder = Path(directory.name)
        self.talks = [chat(f"talk{at}", node("q", None)) for at in range(4)]

    def read(self, path: Path, largest: int = LARGEST) -> list[Any]:
        return list(read_history(path, largest=largest))

    def names(self, path: Path) -> list[str]:
        return [each.source_id for each in self.read(path)]

    def file(self, data: Any, name: str = "conversations.json") -> Path:
        path = self.folder / name
        path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
        return path

    def test_a_file_is_read_as_what_it_holds_whatever_it_is_called(self):
        every = ["talk0", "talk1", "talk2", "talk3"]
        self.assertEqual(self.names(self.file(self.talks, "x.txt")), every)
        self.assertEqual(self.names(self.file(b"\xef\xbb\xbf \n" + json.dumps(self.talks, indent=2).encode())), every)
        lines = "\n\n".join(json.dumps(talk) for talk in self.talks)
        self.assertEqual(self.names(self.file(lines.encode() + b"\n", "lines")), every)
        self.assertEqual(self.names(self.file(self.talks[0], "one.json")), ["talk0"])
        self.assertEqual(self.names(self.file(json.dumps(self.talks[0], indent=1).encode(), "one.json")), ["talk0"])

    def test_the_conversations_may_be_a_list_in_an_object(self):
        every = ["talk0", "talk1", "talk2", "talk3"]
        others = {"users": [{"id": "u"}], "n": {"a": []}}
        about = {"version": 1.5, 'by "me"': None, "conversations": self.talks, **others}
        for wrapped in ({"conversations": self.talks}, {"data": self.talks}, {"meta": {}, "items": self.talks}, about):
            for indent in (None, 1):
                for encoding in ("utf-8", "utf-16"):
                    text = json.dumps(wrapped, indent=indent)
                    self.assertEqual(self.names(self.file(text.encode(encoding))), every, (text[:60], encoding))
        broken = '{"conversations":[' + "\n,".join(map(json.dumps, self.talks)) + "]}\n"
        self.assertEqual(self.names(self.file(broken.encode())), every)
        lines = "\n".join(json.dumps({"conversations": [talk]}) for talk in self.talks)
        self.assertEqual(self.names(self.file(lines.encode())), every)
        large = {"conversations": [chat(name, node("q", None, parts=["x" * 60_000])) for name in every]}
        path = self.file(large)
        self.assertEqual([each.source_id for each in self.read(path, largest=100_000)], every)
        self.assertEqual(self.names(write_zip(self.folder / "a.zip", {"all.json": large, "users.json": []})), every)
        found = self.read(self.file(json.dumps(large).encode()[:-200]))
        self.assertEqual([type(each) for each in found], [*[ImportedConversation] * 3, Broken])

    def test_an_object_with_another_list_is_reported_once(self):
        for other in ({"id": "x", "data": [1], "items": [{"from": "human", "value": "Hi"}]}, {"conversations": None}):
            self.assertEqual([type(each) for each in self.read(self.file(other))], [Skipped])
        self.assertEqual(self.read(self.file({"conversations": []})), [])
        talk = {"data": [], "items": [1], **self.talks[0]}
        for indent in (None, 1):
            self.assertEqual(self.names(self.file(json.dumps(talk, indent=indent).encode())), ["talk0"])

    def test_the_nodes_may_be_a_list(self):
        nodes = [node("a", "q", "assistant"), node("q", None), node("b", "q", "assistant"), node("b", "q", "assistant")]
        listed = {**chat("talk"), "mapping": [None, *nodes], "current_node": "a"}
        [talk] = self.read(self.file([listed]))
        links = [(each.source_id, each.parent) for each in talk.messages]
        self.assertEqual(sorted(links), [("a", "q"), ("b", "q"), ("q", None)])
        self.assertEqual(talk.head, "a")
        bare = [{"message": each["message"]} for each in nodes[1:3]]  # neither ids nor links: in their order
        [talk] = self.read(self.file([{**listed, "mapping": bare, "current_node": None}]))
        self.assertEqual([(each.source_id, each.parent) for each in talk.messages], [("q", None), ("b", "q")])

    def test_another_encoding_is_called_that(self):
        talks = [chat("talk", node("q", None, parts=["Ä café “x”"]))]
        for indent in (None, 1):
            text = json.dumps(talks, ensure_ascii=False, indent=indent)
            for encoding in ("cp1252", "mac-roman"):
                [broken] = self.read(self.file(text.encode(encoding)))
                self.assertIn("it is not UTF-8, UTF-16 or UTF-32; 0 entries", broken.reason)
        [skipped] = self.read(self.file(json.dumps(talks[0], ensure_ascii=False).encode("cp1252")))
        self.assertEqual(skipped.reason, "the line is not UTF-8, UTF-16 or UTF-32")
        whole = json.dumps(talks, ensure_ascii=False).encode()
        [broken] = self.read(self.file(whole[: whole.index("é".encode()) + 1]))  # in the middle of a character
        self.assertIn("cut off", broken.reason)
        [skipped] = self.read(self.file(whole[1 : whole.index("é".encode()) + 1]))
        self.assertEqual(skipped.reason, "the line is not valid JSON")

    def test_kinds_may_be_mixed_in_one_file(self):
        mixed = [
            self.talks[0],
            {"uuid": "claude", "chat_messages": [claude_message("q")]},
            {"id": "wire", "messages": [{"role": "user", "content": "Hi"}]},
        ]
        self.assertEqual(self.names(self.file(mixed)), ["talk0", "claude", "wire"])

    def test_todays_zip_has_numbered_shards_and_much_that_is_none_of_them(self):
        shards = {f"conversations-{at:03}.json": [talk] for at, talk in enumerate(self.talks)}
        rest = {
            "export_manifest.json": {"files": [{"path": name} for name in shards] + ["conversations-004.json"]},
            "user.json": {"id": "u"},
            "user_settings.json": {},
            "message_feedback.json": [{"id": "f", "conversation_id": "talk0"}],
            "shared_conversations.json": [{"id": "s"}],
            "chat.html": b"<html>",
            "file-1.png": b"\x89PNG",
        }
        found = self.read(write_zip(self.folder / "export.zip", {**rest, **dict(reversed(shards.items()))}))
        self.assertIsInstance(found[0], Broken)
        self.assertEqual(found[0].name, "conversations-004.json")
        self.assertEqual([each.source_id for each in found[1:]], ["talk0", "talk1", "talk2", "talk3"])

    def test_shards_are_read_in_the_order_of_their_numbers(self):
        for number, talk in ((10, self.talks[1]), (9, self.talks[0])):
            self.file([talk], f"conversations-{number}.json")
        self.assertEqual(self.names(self.folder), ["talk0", "talk1"])

    def test_an_unpacked_folder_is_read_like_the_zip(self):
        (self.folder / "inner").mkdir()
        self.file(self.talks, "inner/conversations.json")
        self.file([{"uuid": "u"}], "users.json")
        self.assertEqual(len(self.names(self.folder)), 4)

    def test_names_that_a_browser_or_a_file_manager_made_are_known(self):
        names = [
            "conversations (1).json",
            "Conversations(2).json",
            "conversations copy.json",
            "conversations-003 (1).json",
        ]
        (self.folder / "inner").mkdir()
        for name, talk in zip(names, self.talks, strict=True):
            self.file([talk], f"inner/{name}")
        self.file([chat("other", node("q", None))], "trip.json")
        self.assertEqual(sorted(self.names(self.folder)), ["talk0", "talk1", "talk2", "talk3"])
        files = {f"export/{name}": [talk] for name, talk in zip(names, self.talks, strict=True)}
        self.assertEqual(len(self.names(write_zip(self.folder / "export.zip", files))), 4)
        with self.assertRaises(Unreadable):  # and at once
            self.read(write_zip(self.folder / "odd.zip", {f"conversations{'1' * 100_000}x.json"[:60_000]: []}))

    def test_there_may_be_one_file_a_conversation(self):
        files: dict[str, Any] = {
            "chats/Tea & cake.json": self.talks[0],
            "chats/2026/6f1c.json": json.dumps(self.talks[1], indent=2).encode(),
            "conversation-1.json": [self.talks[2]],
            "lines.jsonl": self.talks[3],
            "user.json": {"id": "u"},
            "users.json": [{"uuid": "u"}],
            "projects.json": [{"uuid": "p"}],
            "__MACOSX/chats/._Tea & cake.json": b"\x00\x05",
            "settings.json": {"theme": "dark"},
            "packages.json": [],
            "broken.json": b"[ nonsense",
        }
        for name, value in files.items():
            path = self.folder / "export" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
        for path in (self.folder / "export", write_zip(self.folder / "export.zip", files)):
            found = self.read(path)
            talks = [each.source_id for each in found if isinstance(each, ImportedConversation)]
            self.assertEqual(sorted(talks), ["talk0", "talk1", "talk2", "talk3"])
            self.assertEqual([each.name for each in found if isinstance(each, Broken)], ["broken.json"])
            skipped = [(each.label, each.reason) for each in found if isinstance(each, Skipped)]
            self.assertEqual(skipped, [("settings.json", "it holds no conversations")])

    def test_utf_16_and_32_are_read_with_a_mark_and_without(self):
        tea = [{**talk, "title": "Tea 🍵 語"} for talk in self.talks]
        for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"):
            for text in (json.dumps(tea, ensure_ascii=False), "\n".join(json.dumps(talk) for talk in tea)):
                found = self.read(self.file(text.encode(encoding)))
                self.assertEqual([each.title for each in found], ["Tea 🍵 語"] * 4)
        big_endian = b"\xfe\xff" + json.dumps(tea[0]).encode("utf-16-be")
        self.assertEqual(self.names(self.file(big_endian)), ["talk0"])
        whole = json.dumps(tea).encode("utf-16")
        found = self.read(self.file(whole[:-41]))
        self.assertEqual([each.source_id for each in found[:-1]], ["talk0", "talk1", "talk2"])
        self.assertIn("cut off or not valid JSON; 3 entries", found[-1].reason)
        [talk] = self.read(self.file(json.dumps([self.talks[0]]).encode("utf-16").replace(b"q\x00", b"\x00\xd8")))
        self.assertEqual(len(talk.messages), 1)

    def test_nothing_is_ever_written_to_where_a_zip_points(self):
        files = {"../../evil/conversations.json": [self.talks[0]], "/tmp/conversations-001.json": [self.talks[1]]}
        path = write_zip(self.folder / "export.zip", files)
        self.assertEqual(sorted(self.names(path)), ["talk0", "talk1"])
        self.assertEqual([each.name for each in self.folder.iterdir()], ["export.zip"])
        self.assertFalse(Path("/tmp/conversations-001.json").exists())

    def test_one_bad_conversation_is_said_and_the_others_are_read(self):
        folder = {"id": "p-1", "title": "A\nfolder"}
        found = self.read(self.file([self.talks[0], folder, None, 5, "x", [], {}, chat("empty"), self.talks[1]]))
        self.assertEqual([type(each) for each in found], [ImportedConversation, *[Skipped] * 7, ImportedConversation])
        self.assertEqual(found[1].label, '"A folder" (p-1)')
        self.assertEqual(found[2].label, "conversations.json no. 3")
        lines = [json.dumps(self.talks[0]), '{"mapping": {', "[" * 100_000 + "]" * 100_000, json.dumps(self.talks[1])]
        found = self.read(self.file("\n".join(lines).encode() + b'\n{"a": "\xff"}'))
        self.assertEqual(
            [type(each) for each in found], [ImportedConversation, Skipped, Skipped, ImportedConversation, Skipped]
        )

    def test_a_file_that_ends_early_gives_what_came_before(self):
        whole = json.dumps(self.talks).encode()
        found = self.read(self.file(whole[:-40]))
        self.assertEqual([each.source_id for each in found[:-1]], ["talk0", "talk1", "talk2"])
        self.assertIn("cut off or not valid JSON; 3 entries", found[-1].reason)
        [first, broken] = self.read(self.file(b"[" + json.dumps(self.talks[0]).encode() + b", nonsense]"))
        self.assertIn("; 1 entries", broken.reason)

    def test_a_damaged_or_locked_zip_says_so(self):
        path = write_zip(self.folder / "export.zip", {"conversations.json": self.talks * 50})
        data = bytearray(path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            [entry] = archive.infolist()
        data[entry.header_offset + 100] ^= 0xFF
        [*_, broken] = self.read(self.file(bytes(data), "damaged.zip"))
        self.assertIsInstance(broken, Broken)
        locked = bytearray(path.read_bytes())
        for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            locked[locked.index(mark) + flags] |= 1
        [broken] = self.read(self.file(bytes(locked), "locked.zip"))
        self.assertIn("encrypted", broken.reason)
        with self.assertRaisesMessage(Unreadable, "no conversations.json"):
            self.read(write_zip(self.folder / "other.zip", {"photos.json": []}))
        with self.assertRaises(Unreadable):
            self.read(self.folder / "missing.zip")
        [broken] = self.read(self.file(bytes(path.read_bytes()[:200]), "cut.zip"))
        self.assertIn("not valid JSON", broken.reason)

    def test_a_bomb_costs_no_memory_and_hides_nothing_behind_it(self):
        bombs = {
            "conversations-000.json": b"[" * 30_000_000,
            "conversations-001.json": b'[{"title": "' + b"x" * 30_000_000 + b'"}]',
            "conversations-002.json": b'[{"mapping": '
            + b"[" * 500
            + b"]" * 500
            + b"}, "
            + json.dumps(self.talks[0]).encode()
            + b"]",
            "conversations-003.json": b'{"mapping": {"'
            + b"x" * 30_000_000
            + b'": 1}}\n'
            + json.dumps(self.talks[1]).encode(),
            "conversations-004.json": b'[{"mapping": ['
            + b"{}, " * 1_000_000
            + b"1]}, "
            + json.dumps(self.talks[2]).encode()
            + b"]",
            "conversations-005.json": b" " * 30_000_000,
            "conversations-006.json": b"\xff\xfe[\x00" + b" \x00" * 15_000_000,
            "conversations-007.json": ('[{"title": [' + "{}, " * 1_000_000 + "1]}, ").encode("utf-16")
            + json.dumps(self.talks[3]).encode("utf-16-le")
            + "]".encode("utf-16-le"),
        }
        path = write_zip(self.folder / "export.zip", bombs)
        del bombs
        # Run in a separate process, so that its memory is the importer's alone.
        done = subprocess.run(
            [sys.executable, "-c", READ, str(path), str(LARGEST)], capture_output=True, text=True, check=True
        )
        [found, kilobytes] = json.loads(done.stdout)
        kinds = [kind for kind, _ in found]
        talk, skipped, broken = "ImportedConversation", "Skipped", "Broken"
        self.assertEqual(
            kinds, [broken, broken, skipped, talk, skipped, talk, skipped, talk, broken, broken, skipped, talk]
        )
        self.assertIn("nested", found[2][1])
        self.assertIn("LIMIT_IMPORT_BYTES", found[6][1])
        self.assertLess(kilobytes, 60 << 10)
