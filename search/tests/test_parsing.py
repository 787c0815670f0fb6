"""How a query is read: what excludes, what is a word, what is a phrase; and that nothing takes long or fails."""

from __future__ import annotations

import time
import unicodedata

from django.test import SimpleTestCase, override_settings

from search.analysis import sequence, words
from search.languages import language_of
from search.normalising import normalise
from search.parsing import OPTIONAL, parse
from search.snippets import matching_words, snippet

# Queries, their words, phrases and what they exclude.
QUERIES: tuple[tuple[str, list[str], list[str], list[str]], ...] = (
    ("a -b", ["a"], [], ["b"]),
    ("-b", ["b"], [], []),
    ("-b c", ["b", "c"], [], []),
    ("whale -ship, -boat", ["whale"], [], ["ship", "boat"]),
    ("whale -Foo", ["whale", "Foo"], [], []),
    ("whale -fooBar", ["whale", "fooBar"], [], []),
    ("whale --dry-run", ["whale", "dry", "run"], [], []),
    ("whale -5", ["whale", "5"], [], []),
    ("whale -std=c++17", ["whale", "std", "c", "17"], [], []),
    ("whale - ship", ["whale", "ship"], [], []),
    ("whale-ship", ["whale", "ship"], [], []),
    ("-n --dry-run", ["n", "dry", "run"], [], []),
    ("... -whale", ["whale"], [], []),
    ("e-mail -e-mail", ["e", "mail"], [], ["e-mail"]),
    ("狗 -猫", ["狗"], [], ["猫"]),
    ("狗 －猫", ["狗"], [], ["猫"]),
    ("ไป -ไม่", ["ไป"], [], ["ไม่"]),
    ("été -naïve", ["été"], [], ["naïve"]),
    ('whale -"white ship"', ["whale"], [], ["white ship"]),
    ('-"white ship"', ["white", "ship"], ["white ship"], []),
    ('"white whale" -ship', ["white", "whale"], ["white whale"], ["ship"]),
    ('"unclosed whale', ["unclosed", "whale"], ["unclosed whale"], []),
    ("“white whale”", ["white", "whale"], ["white whale"], []),
    ("„weißer Wal“", ["weißer", "Wal"], ["weißer Wal"], []),
    ("« baleine blanche »", ["baleine", "blanche"], [" baleine blanche "], []),
    ("「去喝茶」", ["去喝", "喝茶"], ["去喝茶"], []),
    ("『東京』と", ["東京", "と"], ["東京"], []),
    ("＂white whale＂", ["white", "whale"], ["white whale"], []),
    ("!?… — ()", [], [], []),
    ('"" "!!"', [], [], []),
    ("C++ C#", ["C"], [], []),
)


class ParsingTest(SimpleTestCase):
    def test_what_is_a_word_a_phrase_and_an_exclusion(self):
        for query, wanted, phrases, excluded in QUERIES:
            with self.subTest(query):
                parsed = parse(query)
                found = [token.text for token in parsed.tokens if token.kind not in OPTIONAL]
                self.assertEqual(found, wanted)
                self.assertEqual([phrase.text for phrase in parsed.phrases], phrases)
                self.assertEqual([phrase.text for phrase in parsed.excluded], excluded)

    def test_long_and_hostile_texts_take_no_time(self):
        for text in (
            "e" + "\u0301\u0323" * 20_000,
            "\u200d\ufe0f" * 20_000,
            "-" * 40_000,
            "a-" * 20_000,
            "\"-a'" * 2_000,
            "กำ" * 20_000,
            "Ab" * 20_000,
            "ﷺ" * 2_000,
            "\u1112\u1161\u11ab" * 10_000,
            "་" * 40_000,
            "١" * 40_000,
            "x" * 40_000,
        ):
            with self.subTest(text[:10]):
                began = time.process_time()
                found = words(text, language_of(text))
                parse(text)
                self.assertTrue(all(0 <= word.start < word.end <= len(text) for word in found))
                self.assertLess(time.process_time() - began, 5)


class NormalTest(SimpleTestCase):
    def test_a_text_is_the_same_in_every_spelling(self):
        for text, other in (
            ("ガソリン", unicodedata.normalize("NFD", "ガソリン")),
            ("ポケモン", "ﾎﾟｹﾓﾝ"),
            ("인천공항", unicodedata.normalize("NFD", "인천공항")),
            ("ＧＰＴ４", "GPT4"),
            ("١٢٣ १२३ ๑๒๓ ၁၂၃ ༡༢༣ 𝟏𝟐𝟑", "123 ۱۲۳ 123 ១២៣ 123 １２３"),
            ("international", "inter\u00adnation\u200bal"),
            ("محمد", "مـحـمـد"),
            ("👍", "👍🏽\ufe0f"),
            ("ﬁne", "fine"),
            ("क्षेत्र", "क्\u200dषेत्र"),
        ):
            with self.subTest(text):
                self.assertEqual(normalise(text).text, normalise(other).text)

    def test_marks_that_make_another_word_stay(self):
        for one, other in (("दिल", "दल"), ("ที่", "ที"), ("ກິນ", "ກນ"), ("हिन्दी", "हिनदी"), ("й", "и"), ("が", "か")):
            with self.subTest(one):
                self.assertNotEqual(sequence(one, "english"), sequence(other, "english"))

    def test_a_highlight_is_at_its_place_in_the_original(self):
        for text, query, shown in (
            ("Ein \u00adinter\u00adnation\u00adal Wort", "international", ["inter\u00adnation\u00adal"]),
            ("ﾎﾟｹﾓﾝのｶｰﾄﾞ", "カード", ["ｶｰﾄﾞ"]),
            (f"x {unicodedata.normalize('NFD', 'Besançon')} y", "besancon", [unicodedata.normalize("NFD", "Besançon")]),
            (f"{unicodedata.normalize('NFD', '인천공항')}에서", "공항", [unicodedata.normalize("NFD", "공항")]),
            ("ﷺ ﬁﬁ ship", "ship", ["ship"]),
            ("我家的猫很懒", "猫", ["猫"]),
            ("我家的猫很懒", "家的猫", ["家的猫"]),
            ("use --dry-run now", "--dry-run", ["--dry-run"]),
            ("in C++ and C", "C++", ["C++", "C"]),
            ("Ship 👩🏽\u200d💻!", "👩\u200d💻", ["👩🏽\u200d", "💻"]),
            ("שָׁלוֹם עולם", "שלום", ["שָׁלוֹם"]),
            ("İİ ışık", "isik", ["ışık"]),
            ("سنة ١٤٤٧ هـ", "1447", ["١٤٤٧"]),
            ("ﷺ عام ١٩٩٥", "۱۹۹۵", ["١٩٩٥"]),
            ("ปี ๒๕๖๖", "2566", ["๒๕๖๖"]),
            ("𞥑𞥒 pages", "12", ["𞥑𞥒"]),
        ):
            with self.subTest(text=text, query=query):
                matches = matching_words(text, parse(query).tokens)
                found = snippet(text, matches)
                self.assertEqual([found.text[start:end] for start, end in found.highlights], shown)


class LanguageTest(SimpleTestCase):
    def test_a_language_is_told_by_its_stop_words_or_not_at_all(self):
        for text, language in (
            ("Die Häuser sind nicht am Meer", "german"),
            ("Les maisons ne sont pas sur la mer", "french"),
            ("Las casas no están en el mar", "spanish"),
            ("As casas não são do mar", "portuguese"),
            ("De huizen zijn niet aan het water", "dutch"),
            ("Мы не были в лесу", "russian"),
            ("The houses are not in Die", "english"),
            ("Die hard was on", "english"),
            ("Häuser", "english"),
            ("kubectl get pods -n de la", "english"),
            ("", "english"),
        ):
            with self.subTest(text):
                self.assertEqual(language_of(text), language)
                with override_settings(SEARCH_LANGUAGE="german"):
                    self.assertEqual(language_of(text), "german")
