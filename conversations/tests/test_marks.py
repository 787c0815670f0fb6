"""Citation and entity marks of ChatGPT: links, sources or nothing, and never the marks themselves."""

from __future__ import annotations

import time
from typing import Any

from django.test import SimpleTestCase

from conversations.importers import parse
from conversations.importers.marks import clean
from conversations.tests.exports import chat, node

OPEN, CLOSE, SEPARATOR = "\ue200", "\ue201", "\ue202"


def mark(*parts: str) -> str:
    return f"{OPEN}{SEPARATOR.join(parts)}{CLOSE}"


def page(title: str, url: str, **fields: Any) -> dict[str, Any]:
    return {"title": title, "url": url, **fields}


class MarksTest(SimpleTestCase):
    def test_a_citation_is_a_link_and_a_source_with_its_place(self):
        cite = mark("cite", "turn0search3", "turn0search8")
        more = [page("Two [2]", "https://b.example/x(y)?utm_source=chatgpt.com&a=1")]
        items = [page("One", "https://a.example/?utm_source=chatgpt.com", supporting_websites=more)]
        about = {"content_references": [{"matched_text": cite, "type": "grouped_webpages", "items": items}]}
        text, sources = clean(f"Whales 🐋 sleep. {cite} Yes{cite}.", about)
        link = "([One](https://a.example/), [Two (2)](https://b.example/x%28y%29?a=1))"
        self.assertEqual(text, f"Whales 🐋 sleep. {link} Yes {link}.")
        self.assertEqual([each["type"] for each in sources], ["url_citation"] * 4)
        places = [each["url_citation"] for each in sources]
        self.assertEqual({text[each["start_index"] : each["end_index"]] for each in places}, {link})
        self.assertEqual(places[0]["title"], "One")

    def test_each_kind_of_mark_becomes_what_a_reader_sees(self):
        references = [
            {
                "matched_text": mark("navlist", "News", "turn0news1,turn0news2"),
                "items": [page("N", "https://n.example")],
            },
            {"matched_text": mark("filecite", "turn1file0"), "type": "file", "name": "map.pdf"},
            {"matched_text": mark("url", "the docs", "turn0search1"), "items": [page("Docs", "https://d.example")]},
            {"matched_text": mark("cite", "turn0alt0"), "alt": "([A](https://a.example/p?utm_source=chatgpt.com))"},
            {"matched_text": mark("cite", "turn0bad0"), "items": [page("J", "javascript:alert(1)"), None, "x"]},
            {"matched_text": mark("video", "Film", "turn0video1"), "url": "https://v.example", "title": ""},
        ]
        for marked, shown in (
            (f"Read {mark('navlist', 'News', 'turn0news1,turn0news2')}", "Read ([N](https://n.example))"),
            (f"so.{mark('filecite', 'turn1file0')}", "so. (map.pdf)"),
            (f"See {mark('url', 'the docs', 'turn0search1')}.", "See [the docs](https://d.example)."),
            (f"See {mark('url', 'a label', 'turn0search9')} now", "See a label now"),
            (f"See {mark('url', 'home', 'https://h.example')}", "See home"),
            (f"A {mark('cite', 'turn0alt0')}", "A ([A](https://a.example/p))"),
            (f"B {mark('cite', 'turn0bad0')}!", "B (J)!"),
            (f"C {mark('video', 'Film', 'turn0video1')}", "C ([v.example](https://v.example))"),
            ("And " + mark("entity", '["people","Ada Example",0]') + " says", "And Ada Example says"),
            (f'{OPEN}entity["city","Rome"]{CLOSE} is old', "Rome is old"),
            (mark("entity", '{"name": "Bob"}') + " too", "Bob too"),
            (mark("entity", "[broken") + " x", "x"),
            (mark("image_group", '{"query": ["a", "b"]}') + "\n\nText", "\n\nText"),
            (mark("genui", '{"a": "b\nc"}') + "done", "done"),
            (f"a {mark('finance', 'turn0finance0')} {mark('i', 'turn0image0', 'turn0image1')} b", "a b"),
            (f"- one {mark('cite', 'turn0search0')}\n- two {mark('memcite')}", "- one\n- two"),
            ("\ue203Marked words\ue204 \ue206 end\ue205", "Marked words end"),
            ("nothing marked, † neither", "nothing marked, † neither"),
        ):
            text, _ = clean(marked, {"content_references": references})
            self.assertEqual(text, shown)

    def test_marks_may_be_nested_cut_off_bare_or_strays(self):
        inner = mark("cite", "turn0search1")
        for marked, shown in (
            (f"cut {OPEN}cite{SEPARATOR}turn0search1 and more", "cut and more"),
            (f"cut {OPEN}navlist{SEPARATOR}News{SEPARATOR}turn0news1 and more", "cut and more"),
            (f'cut {OPEN}entity{SEPARATOR}["people","Ada', "cut"),
            (f"cut {OPEN}", "cut"),
            (f"cut {OPEN}cite{SEPARATOR}turn0sea", "cut"),
            (f"cut {OPEN}cite{SEPARATOR}turn0search1{SEPARATOR}tur", "cut"),
            (f"side {inner}{inner} by side {inner}{inner}{inner}. End", "side by side. End"),
            (f"side {inner} {inner}\n{inner}{inner} by side", "side\nby side"),
            (f"nested {OPEN}navlist{SEPARATOR}T {inner}{SEPARATOR}turn0news1{CLOSE} end", "nested end"),
            (f"X {OPEN}cite{SEPARATOR}turn0search1 words\nwords {inner} more {CLOSE} end", "X words\nwords more end"),
            ("bare citeturn0search3turn0search8. Then fileciteturn1file0 end", "bare. Then end"),
            (f"stray {CLOSE} close {SEPARATOR} separator", "stray close separator"),
            (f"{OPEN}some words{CLOSE} kept", "some words kept"),
            (OPEN * 100 + "deep" + CLOSE * 100, "deep"),
        ):
            text, sources = clean(marked)
            self.assertEqual((text, sources), (shown, []))

    def test_older_marks_are_found_by_their_place_their_number_or_their_order(self):
        source = page("S", "https://s.example")
        text = "🐋🐋 Old【12†source】 and【4:0†file.pdf】."
        by_place = [{"start_ix": 6, "end_ix": 17, "metadata": source}]
        by_number = [{"start_ix": 8, "end_ix": 19, "metadata": {**source, "extra": {"cited_message_idx": 12}}}]
        by_order = [{"metadata": source}, {"metadata": {"type": "file", "name": "file.pdf"}}]
        link = "([S](https://s.example))"
        self.assertEqual(clean(text, {"citations": by_place}).text, f"🐋🐋 Old {link} and.")
        self.assertEqual(clean(text, {"citations": by_number}).text, f"🐋🐋 Old {link} and.")
        self.assertEqual(clean(text, {"citations": by_order}).text, f"🐋🐋 Old {link} and (file.pdf).")
        self.assertEqual(clean(text).text, "🐋🐋 Old and.")
        self.assertEqual(clean("【注】 and 【a】†").text, "【注】 and 【a】†")

    def test_marks_that_read_the_same_have_their_own_sources(self):
        def reference(marked: str, number: int, name: str, shift: int = 0) -> dict[str, Any]:
            start = -1
            for _ in range(number):
                start = marked.index(cite, start + 1)
            places = {"start_idx": start + shift, "end_idx": start + shift + len(cite)}
            return {"matched_text": cite, "items": [page(name, f"https://{name}.example")], **places}

        def links(marked: str, *references: dict[str, Any]) -> list[str]:
            _, sources = clean(marked, {"content_references": list(references)})
            return [each["url_citation"]["title"] for each in sources]

        for cite in (mark("cite", "turn0search1"), "【1†source】"):
            two, three = f"🐋 one {cite} two {cite}.", f"a {cite} b {cite} c {cite}"
            for shift in (0, 1):  # counted in other units, too
                a, b = reference(two, 1, "a", shift), reference(two, 2, "b", shift)
                self.assertEqual(links(two, a, b), ["a", "b"])
                self.assertEqual(links(two, b, a), ["a", "b"])
            self.assertEqual(links(two, {**a, "start_idx": None}, {**b, "start_idx": None}), ["a", "b"])
            self.assertEqual(links(two, a), ["a", "a"])
            a, b, c = (reference(three, number, name) for number, name in enumerate("abc", 1))
            self.assertEqual(links(three, a, c), ["a", "a", "c"])
            self.assertEqual(links(three, {**a, "matched_text": ""}, b), ["a", "b", "a"])
        text = "One【†source】 two【†source】"
        cited = [{"metadata": page("A", "https://a.example")}, {"metadata": page("B", "https://b.example")}]
        self.assertEqual(
            clean(text, {"citations": cited}).text, "One ([A](https://a.example)) two ([B](https://b.example))"
        )

    def test_an_older_mark_may_be_cut_off(self):
        for marked, shown in (
            ("It is so【10†source", "It is so"),
            ("It is so 【10†sour", "It is so"),
            ("It is so【4:0†my fi", "It is so"),
            ("It is so【10†\n", "It is so\n"),
            ("It is so【10", "It is so"),
            ("It is so【4:", "It is so"),
            ("It is so【10†my fi\n\n", "It is so"),
            ("It is so【10†sour\n\nand more", "It is so\n\nand more"),
            ("Cut【10†source and more【3†source】.", "Cut and more."),
            ("【10月】 and 【10 b", "【10月】 and 【10 b"),
            ("【10†这是一个 very long sentence\n\nand more【", "这是一个 very long sentence\n\nand more【"),
        ):
            self.assertEqual(clean(marked).text.rstrip("\n"), shown.rstrip("\n"))

    def test_sources_listed_below_an_answer_are_kept_once(self):
        cite = mark("cite", "turn0search0")
        about = {
            "content_references": [
                {"matched_text": cite, "items": [page("A", "https://a.example")]},
                {
                    "type": "sources_footnote",
                    "sources": [page("A", "https://a.example"), page("F", "https://f.example")],
                },
            ]
        }
        text, sources = clean(f"So {cite}", about)
        found = [(each["url_citation"]["url"], each["url_citation"]["start_index"]) for each in sources]
        self.assertEqual(found, [("https://a.example", 3), ("https://f.example", len(text))])
        self.assertEqual(clean("Plain", about).text, "Plain")

    def test_odd_metadata_is_survived_and_long_texts_are_quick(self):
        odd: list[Any] = [None, 5, "x", [], {}, [None], [{"matched_text": 5, "start_idx": "a", "items": [5]}], [[1]]]
        for value in odd:
            self.assertEqual(
                clean(f"a{mark('cite', 'x')}【1†s】", {"content_references": value, "citations": value}).text, "a"
            )
        begun = time.monotonic()
        clean(f"word {mark('cite', 'turn0search0')} " * 20_000)
        clean(" " * 100_000 + OPEN * 100_000 + CLOSE * 100_000 + "【" * 100_000 + "cite" * 100_000)
        self.assertLess(time.monotonic() - begun, 5)

    def test_titles_questions_and_pictures_have_no_marks_either(self):
        cite = mark("cite", "turn0search0")
        drawn = {
            "content_type": "multimodal_text",
            "parts": [{"content_type": "image_asset_pointer", "asset_pointer": cite}],
        }
        nodes = [node("q", None, parts=[f"why {cite}?"]), node("t", "q", "tool", content=drawn)]
        talk = parse(chat("talk", *nodes, title=f"On whales {cite}"))
        self.assertEqual((talk.title, [each.content for each in talk.messages]), ("On whales", ["why?", "[image:]"]))

    def test_an_export_of_ours_is_left_as_it_is(self):
        own = node("a", None, "assistant", [mark("cite", "x")], metadata={"chat_service": {"status": "complete"}})
        self.assertEqual(parse(chat("talk", own, chat_service={})).messages[0].content, mark("cite", "x"))
