"""Tells a refusal by a server that does not speak the Responses API from any other."""

from __future__ import annotations

import re
from typing import Final

from completions.exceptions import ProviderError, UpstreamFailed, UpstreamInvalid, UpstreamRejected

OTHER_API: Final = (
    'The model\'s server does not speak the Responses API (the option "api" of this upstream should be "chat").'
)
# A path, but not that of a page of documentation, which OpenAI's messages name
_NO_SUCH_PATH: Final = re.compile(
    r"(?<![\w./-])/(?:[\w-]+/)*responses(?!/\w)|\b(?:unexpected|unknown|unsupported|invalid) endpoint\b"
    r"|\b(?:endpoint|route|page|method) (?:is )?not (?:found|allowed|supported|implemented)",
    re.IGNORECASE,
)
_WANTS_MESSAGES: Final = re.compile(r"\bmessages\b.{0,40}\b(?:required|missing)|\bmissing\b.{0,40}\bmessages\b", re.I)
_NOTHING_THERE: Final = re.compile(r"(?:http )?(?:error )?(?:404:? ?)?(?:file |page |resource )?not[ _]found\.?", re.I)
_NO_CODES: Final = frozenset({None, "404", "405", "not_found", "not_found_error", "NotFound"})


def other_api() -> UpstreamInvalid:
    """Return the exception for an answer that is not one of the Responses API."""
    return UpstreamInvalid(OTHER_API)


def explained(error: ProviderError) -> ProviderError:
    """Return `error`, or a clearer one if the upstream means that it has no Responses API."""
    return other_api() if _is_other_api(error) else error


def _is_other_api(error: ProviderError) -> bool:
    if isinstance(error, UpstreamFailed):  # LM Studio: an error with status 200
        return bool(_NO_SUCH_PATH.search(error.message))
    if not isinstance(error, UpstreamRejected):
        return False
    if error.status == 405 or _NO_SUCH_PATH.search(error.message):
        return True
    if error.status == 404:
        is_silent = error.message == error.default_message
        return error.upstream_code in _NO_CODES and (is_silent or bool(_NOTHING_THERE.fullmatch(error.message)))
    return error.status in (400, 422) and (error.param == "messages" or bool(_WANTS_MESSAGES.search(error.message)))
