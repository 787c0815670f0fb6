"""Orders the best hits of a search anew, by a model that reads the question together with each passage.

Whatever goes wrong, the first order stays and the reason is told. The new order is kept in the cursors of the search,
so that a further page repeats and leaves out nothing, and asks no model.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import Protocol

from django.conf import settings

from accounts.callers import Principal
from search.analysis import Token
from search.candidates import Candidate
from search.hits import snippets_of
from search.loader import BackgroundLoader
from search.neighbours import surroundings
from search.passages import day
from search.rerankers import CHAT, CannotRerank, CrossEncoder, load
from search.scopes import Scope
from search.semantic import SemanticQuery
from search.snippets import passage

logger = logging.getLogger(__name__)
BEST = 30  # hits that are ordered: few enough for a model to read, and always in the first block of candidates
PASSAGE_CHARS, PREVIOUS_CHARS = 800, 200
REMEMBERED = 256  # orders: the same search asks the model only once
LOADING = "The reranker is still loading."


class ChatReranker(Protocol):
    """Asks a chat model for the positions of `passages`, best first. It uses no database."""

    def __call__(
        self, principal: Principal, model: str, question: str, passages: Sequence[str], seconds: float
    ) -> list[int] | None:
        """Return None if the caller may not use the model; raises CannotRerank, also when `seconds` have passed."""


_chat: list[ChatReranker] = []
_orders: dict[bytes, list[int]] = {}


def register_chat(reranker: ChatReranker) -> None:
    """Set what asks chat models: the upstreams belong to an app above this one."""
    _chat[:] = [reranker]


def is_on(principal: Principal | None) -> bool:
    """Tell whether the caller's searches are reranked; `principal` None is staff that searches everybody's messages.

    A chat model sees nothing but the caller's own messages: not what guests say to others, nor what staff searches.
    """
    name = settings.SEARCH_RERANKER
    return bool(name) and (not _model_of(name) or (principal is not None and not principal.is_guest))


def new_order(
    principal: Principal | None,
    scope: Scope,
    text: str,
    best: Sequence[Candidate],
    wanted: Sequence[Token],
    semantic: SemanticQuery | None,
    seconds: float,
) -> tuple[list[int], str]:
    """Return the entries of `best` in their new order, and why it is none."""
    passages = _passages(scope, best, wanted, semantic)
    if len(passages) < 2:
        return [], ""
    name = settings.SEARCH_RERANKER
    entries, texts = list(passages), list(passages.values())
    key = hashlib.blake2b(repr((name, text, texts)).encode("utf-8", "surrogatepass"), digest_size=16).digest()
    found = _orders.get(key)
    if found is None:
        try:
            found = _ask(principal, name, text, texts, seconds)
        except CannotRerank as error:
            if str(error) != LOADING:
                logger.warning("search: %s", error)
            return [], str(error)
        if found is None:
            return [], ""
        if len(_orders) >= REMEMBERED:
            _orders.clear()
        _orders[key] = found
    return [entries[at] for at in found], ""


def reordered(candidates: Sequence[Candidate], order: Sequence[int]) -> list[Candidate]:
    """Return candidates with the best of them in the order of these entries; what was found stays before the rest."""
    place = {entry: at for at, entry in enumerate(order)}
    best = sorted(candidates[:BEST], key=lambda each: (not each.found, place.get(each.entry, len(place))))
    return [*best, *candidates[BEST:]]


def start() -> None:
    """Load the model in the background, if it runs here."""
    if settings.SEARCH_RERANKER and not _model_of(settings.SEARCH_RERANKER):
        loader.start(settings.SEARCH_RERANKER)


def forget() -> None:
    """Drop the model and all orders: for tests, and after a change of settings."""
    loader.forget()
    _orders.clear()


def _ask(principal: Principal | None, name: str, text: str, passages: list[str], seconds: float) -> list[int] | None:
    if model := _model_of(name):
        return _chat[0](principal, model, text, passages, seconds) if _chat and principal is not None else None
    encoder = loader.loaded.get(name)
    if encoder is None:
        start()
        raise CannotRerank(loader.why_not(name) or LOADING)
    return encoder.order(text, passages, seconds)


def _model_of(name: str) -> str:
    """Return the chat model that a reranker is; '' for one that runs here."""
    kind, _, model = name.partition(":")
    return model if kind == CHAT else ""


def _passages(
    scope: Scope,
    best: Sequence[Candidate],
    wanted: Sequence[Token],
    semantic: SemanticQuery | None,
) -> dict[int, str]:
    """Return what a reranker reads of each entry: day, author and message, and the beginning of the turn before."""
    ids = {each.entry: each.message for each in best}
    rows = scope.messages.select_related("conversation").in_bulk(list(ids.values()))
    snippets, around = snippets_of(best, rows, wanted, semantic), surroundings(list(rows.values()))
    passages = {}
    for entry, pk in ids.items():
        if (message := rows.get(pk)) is None:
            continue
        shown = passage(message.content, snippets[pk].text, PASSAGE_CHARS)
        lines = [day(message.created_at), f"{message.author or message.role}: {shown}"]
        if (before := around[pk].before) is not None:
            lines.append(f"{before.author or before.role}: {before.content[:PREVIOUS_CHARS]}")
        passages[entry] = "\n".join(lines)
    return passages


def _warn(error: Exception) -> None:
    logger.warning("searches are not reranked: %s", error)


loader: BackgroundLoader[str, CrossEncoder] = BackgroundLoader("reranker", load, CannotRerank, _warn)
