"""Every script, spelling and sign finds its message: by words alone first, and among the first with meaning too."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

from conversations.models import Message
from search.queries import Mode, search_messages
from search.tests.case import SearchTestCase

CASES = Path(__file__).parent / "cases" / "scripts.jsonl"
FEW = 3  # hits among which the right one is in a hybrid search; the hashing embedder knows no meaning


def nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


# What finds each message of the file, by the end of its id.
SEEDS: dict[str, tuple[str, ...]] = {
    "zh": ("喝茶", "茶", "记忆断裂", '"去喝茶"', "“去喝茶”", "「喝茶」", "朋友 茶"),
    "zh-one": ("猫", "懒", "我家的猫", '"猫"', "猫 懒"),
    "zh-extb": ("𠮷野家", "𠮷", "野"),
    "zh-trad": ("軟體", "授權條款", "權"),
    "zh-glued": ("重跑", "gen-itgc", "后50条", "悬空引用", "itgc", '"gen-itgc后50条"', '"gen-itgc 后"'),
    "ja": ("病院", "東京タワー", "機能していない", "タワー", "ﾀﾜｰ"),
    "ja-one": ("雨", "明日", "降る"),
    "ja-half": ("ポケモン", "カード", "ﾎﾟｹﾓﾝ", "ｶｰﾄﾞ", nfd("ポケモン")),
    "ja-nfd": ("ガソリン", nfd("ガソリン"), "ｶﾞｿﾘﾝ", "給油", "スタンド"),
    "ja-rep": ("佐々木", "人々", "時々", "々", "佐"),
    "ja-full": ("GPT4", "ＧＰＴ４", "API料金", "api", "料金", '"gpt4の"'),
    "ko": ("서울", "김치찌개", "먹었다", nfd("서울"), "찌"),
    "ko-nfd": ("부산", "해운대", "회의", nfd("해운대")),
    "ko-nfdq": ("대구", nfd("대구"), nfd("막창"), "주문"),
    "th": ("ทุเรียน", "ตลาด", "ตลาดน้ำ", "ซื้อ", "น้ำ", '"ตลาดน้ำ"'),
    "km": ("ថ្នាំ", "ផ្សារ", "ទិញ", "ផ្សារថ្មី"),
    "lo": ("ຕະຫຼາດ", "ໄປ", "ຊື້", "ໝາກມ່ວງ"),
    "my": ("ရန်ကုန်", "မြို့", "မနေ့က", "သွား"),
    "bo": ("ལྷ་ས", "ལྷ", "འགྲོ"),
    "ar": ("الكتاب", "مكتبة", "المكتبة", "محمد", "مُحَمَّد", "مـحـمـد", "قرأت"),
    "fa": ("می‌خواهم", "میخواهم", "می خواهم", "کتاب", "کتاب‌های", "کتابهای", "كتاب", "فارسی", "فارسي"),
    "he": ("עולם", "הכלב", '"שלום עולם"'),
    "hi": ("दिल्ली", "हिन्दी", "सीखनी", nfd("हिन्दी")),
    "ru": ("елку", "ёлку", "ЁЛКА", "поезд", "Сибирь", nfd("ёлку")),
    "tr": ("istanbul", "İstanbul", "ISTANBUL", "ışık", "isik", "güzel"),
    "de": ("straßenbahnhaltestelle", "STRASSENBAHNHALTESTELLE", "muller", "Müller", "Straßenbahnhaltestellen"),
    "vi": ("phở", "pho", "đà nẵng", "da nang", nfd("Đà Nẵng")),
    "fr-nfd": ("été", "ete", "besancon", "Besançon", "agréable", nfd("Besançon"), "agréables"),
    "pt": ("orçamento", "orcamentos", "reuniao", "semanas"),
    "gr": ("καφές", "καφες", "ΑΘΗΝΑ", "Αθήνα", "υπέροχος", "καφέ"),
    "ident": (
        *("getUserById", "getuserbyid", "user_id", "src/app/models/user_profile.py", "user_profile.py", "userId"),
        *("user_profile", "v2.13.1", "POL-358", "get user by id", "app/models", '"user_profile.py"'),
    ),
    "camel": ("HttpRequestHandlerFactory", "httprequesthandlerfactory", "request handler", "RequestHandler handler"),
    "cpp": ("C++", "c++", "C#", "F#", ".NET", "node.js", "nodejs", "Ｃ＋＋", '"C++"', '"c# generics"'),
    "url": (
        *("https://docs.example.org/guide/setup?tab=linux#step-3", "docs.example.org", "zoe@example.org", "step-3"),
        "guide/setup",
    ),
    "flag": (
        *("--error-on-warnings", "-Werror", "Werror", "-Werror=format", "error on warnings", "erroronwarnings"),
        *("run --error-on-warnings", "it -Werror", "‑‑error‑on‑warnings"),
    ),
    "apos": ("don't", "don’t", "rock'n'roll", "rock’n’roll", "o'clock", "o’clock"),
    "emoji": ("🚀", "🎉", "🚀🎉", "fine 🚀", "🚀\ufe0f", '"🚀"'),
    "num": ("4711-0815", "47110815", "1,234.56", "1.234,56", "+49 170 1234567", "invoice"),
    "ops": ("NEAR", "AND OR NOT NEAR", "(parenthesis", "parenthesis)"),
    "typo": ("kubernetes ingress", "controller"),
    "math": ("E=mc²", "mc2", "H2O", "H₂O", "5€", "€"),
    "soft": ("international", "conference", "inter\u00adnational"),
}
# Messages beside which there are others of their kind, and what finds them.
MISSES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("저녁에 밥을 먹고 물을 마셨다", ("밥", "물")),
    ("今天买了一条鱼", ("鱼",)),
    ("她喜欢狗和鸟", ("狗", "狗 鸟", '"狗"')),
    (nfd("오늘 인천공항에서 비행기를 탔다"), ("인천공항", "비행기", nfd("인천공항"), nfd("비행기"))),
    ("내일 제주도에서 감귤농장을 방문한다", (nfd("제주도"), nfd("감귤농장"))),
    ("ຂ້ອຍມັກກິນເຂົ້າ", ("ກິນ",)),
    ("שָׁלוֹם לְכֻלָּם", ("שלום", "שָׁלוֹם", "לכלם")),
    ("use the option --dry-run first", ("--dry-run", "-n --dry-run", "dry-run", "dryrun", "option --dry-run")),
    ("Ship it 🛳️ now", ("🛳", "🛳️")),
    ("Well done 👍🏽 by the 👩‍💻 from 🇩🇪", ("👍", "👍🏿", "👩‍💻", "🇩🇪", "👩🏾‍💻")),
    ("It is -5 degrees outside", ("-5", "degrees -5")),
    ("Print the help with -v or --no-cache", ("-v", "--no-cache", "help --no-cache", "nocache")),
    ("I sent him an e-mail", ("e-mail", "email", "emails", "E-Mail")),
    ("He bought a ﬁne ½ litre of Acme™ milk", ("fine", "acme", "1/2 litre")),
    ("رقم الهاتف ٠٥٠١٢٣٤٥٦٧", ("0501234567", "٠٥٠١٢٣٤٥٦٧", "۰۵۰۱۲۳۴۵۶۷", '"الهاتف 0501234567"')),
    ("कमरा नंबर ४७१ खाली है", ("471", "४७१", "٤٧١", "नंबर 471")),
    ("ห้อง๘๓๒อยู่ชั้นบน", ("832", "๘๓๒", "ห้อง832")),
    ("The parcel has the number 90317", ("٩٠٣١٧", "९०३१७", "๙๐๓๑๗", "９０３１７", "၉၀၃၁၇", "༩༠༣༡༧", "𝟗𝟎𝟑𝟏𝟕")),
    ("\u200b\ufeffzero\u2060width everywhere", ("zerowidth",)),
)


class ScriptsTest(SearchTestCase):
    def test_every_message_is_found_by_what_it_says(self):
        wanted: list[tuple[Message, tuple[str, ...]]] = []
        for line in CASES.read_text(encoding="utf-8").splitlines():
            case = json.loads(line)
            message = self.say(self.alice, case["messages"][0]["content"])
            wanted.append((message, SEEDS.get(case["id"].removeprefix("seed-"), ())))
        self.assertEqual(len([queries for _, queries in wanted if queries]), len(SEEDS))
        wanted += [(self.say(self.alice, content), queries) for content, queries in MISSES]
        self.index()
        for message, queries in wanted:
            for query in queries:
                for mode, places in ((Mode.TEXT, 1), (Mode.HYBRID, FEW)):
                    with self.subTest(message=message.content, query=query, mode=str(mode)):
                        found = search_messages(self.alice, query, mode=mode)
                        self.assertEqual(found.excluded, ())
                        self.assertIn(message, [hit.message for hit in found.hits[:places]])
                        self.assertEqual(found.mode, mode)
