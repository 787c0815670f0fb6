"""In which language a text is, where that is clear; its stop words, and what cuts its endings."""

from __future__ import annotations

import functools
import re
import threading
import unicodedata
from collections.abc import Callable

import Stemmer
from django.conf import settings

from search.normalising import MARKS, fold

AUTO, ENGLISH = "auto", "english"
MAX_WORD_CHARS = 64
WORDS_REMEMBERED = 2_000
READ_CHARS = 2_000  # of a text, to tell its language
MIN_STOP_WORDS = 2
ALONE = frozenset({"arabic", "greek"})  # of these one is enough: hardly another language shares their letters
WORD = re.compile(rf"[^\W\d_]+(?:[{MARKS}]+[^\W\d_]*)*")
STOP_WORDS = {
    ENGLISH: """
a about above after again all also am an and any are as at be because been before being below between both but by
can could did do does doing down during each few for from further had has have having he her here hers him his how
i if in into is it its just me more most my no nor not now of off on once only or other our out over own same she
should so some such than that the their them then there these they this those through to too under until up very
was we were what when where which while who whom why will with would you your i'm i've i'll i'd you're you've you'll
he's she's it's we're we've we'll they're they've they'll that's what's who's where's how's there's let's
isn't aren't wasn't weren't hasn't haven't hadn't doesn't don't didn't won't wouldn't can't couldn't shouldn't
""",
    "german": """
aber als am an auch auf aus bei bin bis da das dass dein dem den der des die doch du durch ein eine einem einen einer
er es für gegen habe haben hat hatte ich ihr im in ist ja kann kein keine man mein mich mir mit nach nicht noch nur
oder sein sich sie sind so über um und uns unter vom von vor war waren was wenn wer wie wir wird wo zu zum zur
""",
    "french": """
au aux avec c'est ce cette ces dans de des du elle elles en est et étais était été eux il ils je j'ai l'on la le les
leur lui ma mais me mes moi mon ne nos notre nous on ou où par pas pour qu'il que qui sa sans se ses son sont sur ta
te tes toi ton tu un une vos votre vous très plus cet d'un d'une
""",
    "spanish": """
al algo antes como con contra cuando de del desde donde durante el ella ellos en entre era eres es esta está este
esto estoy fue ha había hay la las le les lo los más me mi muy no nos o para pero por porque qué que quien se ser si
sin sobre son su sus también tengo tiene todo un una y ya yo
""",
    "portuguese": """
a ao aos as até com como da das de dela dele depois do dos e ela ele eles em então era essa esse esta este estou eu
foi há isso isto já lhe mais mas me meu minha muito na não nas nem no nos o os ou para pela pelo por quando que quem
se sem ser seu sua são também tem tenho um uma você
""",
    "italian": """
agli ai al alla alle anche c'è che chi ci come con da dal dalla dei del della delle di dove e è era gli ha ho i il in
io la le lei lo loro lui ma mi mia mio ne nel nella noi non o per perché più quando quanto quella quello questa
questo se si sono su sua suo tra tu un un'altra una uno
""",
    "dutch": """
aan al als bij dan dat de deze die dit door een en er ge had hebben heb heeft het hier hij hoe hun ik in is je kan me
meer met mij mijn moet na naar niet nog nu of om omdat onder ons ook op over te tot toen uit van veel voor waar was
wat we wel wie wij worden zal ze zich zij zijn zo
""",
    "swedish": """
alla allt att av blev bli den det där då efter ej eller en ett från för går ha hade han har henne hon honom hur här i
icke inte jag ju kan man med men mig min mycket mot ni nu när någon och om oss på sig sin ska som så till upp ut vad
var vara vi vid är över
""",
    "danish": """
ad af alle at blev da de dem den der deres det dette dig din du efter eller en end er et for fra få ham han hans har
hun hvad hvis hvor i ikke ind jeg jer kan med meget men mig min mod nu når og om op os over på sig skal som til ud
var ved vi vil været
""",
    "finnish": """
ei en et että hän he hyvin ihan ja jo joka jos kanssa kuin kun me mikä minä minun missä mitä mutta myös ne niin nyt
oli olin olen on ovat sekä se sen siellä sinä tai tämä te tuo vai vain vielä
""",
    "turkish": """
ama ben bir biz bu bunu çok çünkü da daha de değil diye en gibi hem her için ile ise ki kim mi mı mu mü nasıl ne neden
o olan olarak oldu onu sen siz şey şu var ve veya ya yok
""",
    "polish": """
ale by być co czy dla do gdzie i ich ja jak jako je jego jej jest jestem jeszcze już kiedy który która ma mam mi mnie
może na nie niż o od on ona oni po przez się są ta tak tam te tego tej ten to tu ty tylko w we więc z za ze że
""",
    "russian": """
а без более бы был была были было быть в вам вас во вот все вы где да для до его ее если есть еще же за и из или им их
к как когда кто ли меня мне мы на не нет но о об он она они от по под при с так там то тоже только ты у уже чем что
чтобы это этот эта эти я
""",
    "greek": """
από αν για δεν εγώ είναι ένα ένας εσύ έχει έχω η ή θα και με μας μου να ο οι όταν ότι που πως σε σου στα στη στην στο
στον στους τα την της τι το τον του τους των ως ήταν κάτι μια πολύ
""",
    "arabic": """
أن إن أنا أنت أو إلى التي الذي الى ان او بعد بين ثم حتى ذلك على عن عند في قبل قد كان كانت كل كما لا لم لن له لها ما مع
من منذ نحن هذا هذه هل هم هو هي و يا
""",
    "persian": """
آن از است اما او این با بر برای به بود تا چه خود در را شد شده شما کرد کردن که ما من می نیز هم هر همه هستند و وی یا یک
""",
    "hindi": """
अब और इस उस एक कर करना का कि किया की कुछ के को कोई क्या गया जब जो तक तो था थी थे दिया नहीं ने पर भी मुझे मेरा मेरी में मैं यह या ये रहा
रही रहे वह वे से हम है हैं हो होता
""",
}
_own = threading.local()


def known_language(language: str) -> bool:
    return language in (AUTO, "none") or language in Stemmer.algorithms()


def usual_language() -> str:
    """Return the language of texts whose own is not clear."""
    return ENGLISH if settings.SEARCH_LANGUAGE == AUTO else settings.SEARCH_LANGUAGE


def language_of(text: str) -> str:
    """Return the language of `text` by its stop words if the setting allows it and one is clear, or the usual one."""
    usual = usual_language()
    if settings.SEARCH_LANGUAGE != AUTO:
        return usual
    counts: dict[str, int] = {}
    for word in WORD.findall(unicodedata.normalize("NFC", text[:READ_CHARS]).lower()):
        for language in _languages_by_word().get(word, ()):
            counts[language] = counts.get(language, 0) + 1
    if not counts:
        return usual
    best = max(counts, key=lambda each: (counts[each], each))
    others = max((count for language, count in counts.items() if language != best), default=0)
    enough = 1 if best in ALONE else MIN_STOP_WORDS
    return best if counts[best] >= max(enough, 2 * others) else usual


def is_stop_word(word: str, language: str) -> bool:
    """Tell whether `word` says little in this language. Without a list none does, and rarity alone weighs its words."""
    return stemmer(language)(word) in _stop_stems(language, usual_language())


def stemmer(language: str) -> Callable[[str], str]:
    """Return this thread's stemming function: a stemmer is not thread-safe.

    The stems of each language but the usual one are named after it: they are found in texts of this language alone.
    """
    usual = usual_language()
    if getattr(_own, "usual", None) != usual:
        _own.usual, _own.stemmers = usual, {}
    stemmers: dict[str, Callable[[str], str]] = _own.stemmers
    if language not in stemmers:
        stemmers[language] = _make_stemmer(language, "" if language == usual else f"{language}:")
    return stemmers[language]


def _make_stemmer(language: str, name: str) -> Callable[[str], str]:
    cut = Stemmer.Stemmer(language).stemWord if language in Stemmer.algorithms() else str

    def stem(word: str) -> str:
        return name + cut(fold(word[:MAX_WORD_CHARS])[:MAX_WORD_CHARS])

    # Cached: most words of a text occur in earlier ones. Not what is too long for a word, and may be a megabyte.
    known = functools.lru_cache(WORDS_REMEMBERED)(stem)
    return lambda word: known(word) if len(word) <= MAX_WORD_CHARS else stem(word)


@functools.cache
def _languages_by_word() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for language, text in STOP_WORDS.items():
        for word in {part for each in text.split() for part in WORD.findall(each)}:
            found[word] = (*found.get(word, ()), language)
    return found


@functools.cache
def _stop_stems(language: str, usual: str) -> frozenset[str]:
    stem = stemmer(language)
    return frozenset(stem(part) for word in STOP_WORDS.get(language, "").split() for part in WORD.findall(word))
