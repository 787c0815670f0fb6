"""`manage.py calibrate_search FILE`: measure the floor of the embedder in use on judged histories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.callers import Principal
from accounts.models import User
from search import parsing
from search.allowed import Allowed
from search.calibration import DEPTH, NEVER, STEPS, Asked, Scores, as_histories, lowest, stores
from search.calibration_texts import NONSENSE, PARAPHRASES
from search.candidates import find
from search.embedders import CannotEmbed, Embedder, loading
from search.evaluation import History
from search.floors import NO_FLOOR, Floor
from search.indexing import catch_up
from search.judged_files import BadFile, read_judged
from search.judged_import import Imported, imported
from search.models import Embedder as EmbedderRow
from search.results import Mode
from search.scopes import Scope
from search.semantic import SemanticQuery

WIDTH = 14
OTHERS = 60  # questions of other conversations that each store is asked
SHOWN_ABOVE = 0.08  # the chosen floor
BySize = Mapping[str, Asked]
Right = tuple[str, frozenset[tuple[str, str]]]  # a question, and the keys of its answers


class Command(BaseCommand):
    help = (
        "Measure from which score on a hit counts as found, in whole histories and in stores of 20, 5 and 1 of their "
        "conversations: what each floor loses of the right answers among the first ten, and of answers without a word "
        "of their question (`words`), and how many nonsense questions, and questions of others, find nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--questions", type=int, help="ask only so many, evenly spread, and import their histories")

    def handle(self, *args: Any, file: Path, questions: int | None, **options: Any) -> None:
        try:
            embedder = loading.current()
            judged = read_judged(file)
        except (BadFile, CannotEmbed) as error:
            raise CommandError(str(error)) from error
        if questions:
            judged = judged.limited(questions)
        if not judged.questions:
            raise CommandError("This needs judged questions.")
        sizes, texts = stores(judged.histories), as_histories([said for said, _ in PARAPHRASES])
        rights = [(each.text, each.evidence) for each in judged.questions]
        paraphrases = [(text, frozenset({("texts", said)})) for said, text in PARAPHRASES]
        everything = [history for group in (*sizes.values(), *texts.values()) for history in group]
        with imported(everything, owner_per_history=True) as stored:
            call_command("index_messages", stdout=self.stdout, stderr=self.stderr)
            asking = Asking(embedder, stored)
            by_mode = {
                mode: (
                    {size: asking.asked(group, rights, mode) for size, group in sizes.items()},
                    {f"words {size}": asking.asked(group, paraphrases, mode) for size, group in texts.items()},
                )
                for mode in (Mode.HYBRID, Mode.SEMANTIC)
            }
        floor = lowest([each for groups in by_mode.values() for group in groups for each in group.values()])
        for mode, groups in by_mode.items():
            for name, cosine in (("by their cosines alone", None), ("by their scores, too", floor.cosine)):
                self.stdout.write(f"\n{embedder.name}, {mode}: hits are found {name}")
                self._print(*groups, cosine, floor)
        self.stdout.write(f'"{embedder.name}": Floor(score={floor.score:.2f}, cosine={floor.cosine:.2f}),')

    def _print(self, judged: BySize, texts: BySize, cosine: float | None, best: Floor) -> None:
        heads = [f"lost {size}" for size in (*judged, *texts)]
        heads += [f"{what} {size}" for what in ("near", "other") for size in judged]
        self.stdout.write("".join(f"{head:>{WIDTH}}" for head in ("floor", *heads)))
        chosen = best.cosine if cosine is None else best.score
        for step in STEPS:
            floor = Floor(NEVER, step) if cosine is None else Floor(step, cosine)
            shares = [each.lost(floor) for each in (*judged.values(), *texts.values())]
            shares += [each.near(floor) for each in judged.values()]
            shares += [each.others_near(floor) for each in judged.values()]
            mark = "  <- the lowest that holds nonsense back" if step == chosen else ""
            self.stdout.write(f"{step:{WIDTH}.2f}" + "".join(f"{share:{WIDTH}.1%}" for share in shares) + mark)
            if step > chosen + SHOWN_ABOVE:
                break


class Asking:
    """Asks questions of imported histories, as their owners, without a floor."""

    def __init__(self, embedder: Embedder, stored: Imported) -> None:
        self._embedders = [(EmbedderRow.objects.get(name=embedder.name).pk, embedder)]
        self._stored = stored

    def asked(self, histories: Iterable[History], rights: Iterable[Right], mode: Mode) -> Asked:
        """Ask each history what it answers, all nonsense, and some of what others answer."""
        result, rights = Asked(), list(rights)
        for history in histories:
            scope = _scope(self._stored.owners[history.id])
            keys = {line.key for sitting in history.sittings for line in sitting}
            for text, evidence in rights:
                if evidence <= keys:
                    hits = list(self._hits(scope, text, mode))
                    result.right.append(_scores(score for key, score in hits if key in evidence))
            others = [text for text, evidence in rights if not evidence & keys]
            result.nonsense += [self._all(scope, text, mode) for text in NONSENSE]
            result.others += [self._all(scope, text, mode) for text in others[:: -(-len(others) // OTHERS) or 1]]
        return result

    def _all(self, scope: Scope, text: str, mode: Mode) -> Scores:
        return _scores(score for _, score in self._hits(scope, text, mode))

    def _hits(self, scope: Scope, text: str, mode: Mode) -> Iterator[tuple[tuple[str, str], tuple[float, float]]]:
        query = parsing.parse(text)
        if mode == Mode.SEMANTIC:
            query = parsing.Query((), query.phrases, query.excluded)
        semantic = SemanticQuery(scope, self._embedders, text)
        semantic.floor = NO_FLOOR
        best = find(scope, query, semantic, Allowed(), 1)[:DEPTH]
        cosines = semantic.of(np.array([each.entry for each in best], "i8"))
        for each, cosine in zip(best, cosines, strict=True):
            yield self._stored.names[str(each.message)], (each.score, float(cosine))


def _scope(user: User) -> Scope:
    principal = Principal(user_id=user.pk, username=user.username)
    catch_up(principal)
    return Scope.of(principal)


def _scores(scores: Iterable[tuple[float, float]]) -> Scores:
    return np.array(list(scores), "f8").reshape(-1, 2)
