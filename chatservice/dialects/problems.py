"""Errors in one common form, which every dialect renders in its own shape."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core import exceptions as django_exceptions
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest
from rest_framework import exceptions as drf

from accounts.callers import NotAdmitted, TooManyFailures
from accounts.credential_changes import CredentialsRefused, NotConfirmed
from accounts.registration import RegistrationClosed
from accounts.rotation import NotRotatable
from accounts.scopes import ScopeMissing
from accounts.throttling import RateLimited
from chatservice.signals import tell_of_limit
from completions.cursors import BadCursor
from completions.exceptions import CompletionError, ProviderError
from conversations.services import Busy, LimitReached, StorageFull
from feedback.services import NotAnAnswer
from files.exceptions import ContentMissing, FileRefused, FilesFull, FileTooLarge
from files.storage import StorageLost
from foundation.logs.context import current
from foundation.logs.tracebacks import name_of, unexpected
from foundation.outages import is_passing, note_failure
from search.results import InvalidCursor, SearchNotAllowed
from sharing.services import SharingRefused

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as clients may see it. `details` maps field names to lists of messages.

    `retryable`: the upstream failed before it sent anything.
    """

    status: int
    code: str
    message: str
    details: Mapping[str, Any] | None = None
    param: str | None = None
    retry_after: int | None = None
    retryable: bool = False


class BadRequest(Exception):
    """The request is invalid for this API. `status` is 400, 403, 404, 409, 413, 415, 422 or 429."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "invalid_request",
        status: int = 400,
        param: str | None = None,
        details: Mapping[str, Any] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.problem = Problem(status, code, message, details=details, param=param, retry_after=retry_after)


# What a Content-Encoding may be, and the code of the refusal of any other.
CONTENT_CODINGS = "gzip, deflate"
UNKNOWN_CODING = "unsupported_content_encoding"
MISSING_SCOPE = "insufficient_scope"
"""The code for a key without the scope of an operation, which RFC 6750 defines."""
NOT_FOUND = Problem(404, "not_found", "Not found.")
STORAGE_UNAVAILABLE = Problem(
    503, "storage_unavailable", "The service cannot reach its store right now.", retry_after=5
)


def too_large(setting: str = "LIMIT_BODY_BYTES", *, beside: bool = False) -> BadRequest:
    """Return the refusal of a body beyond the limit that `setting` names; `beside` its pictures and files."""
    if setting == "LIMIT_FILE_BYTES":
        message = str(FileTooLarge(settings.LIMIT_FILE_BYTES))
    else:
        besides = ", besides pictures and files" if beside else ""
        message = f"The request body holds at most {getattr(settings, setting)} bytes ({setting}){besides}."
    return BadRequest(message, code="request_too_large", status=413)


def refuse_bad_body(request: HttpRequest) -> None:
    """Raise BadRequest if the body could not be read: too large, broken, or in an unknown coding."""
    if problem := getattr(request, "body_refusal", None):
        raise BadRequest(problem.message, code=problem.code, status=problem.status)


def problem_of(error: Exception) -> Problem:
    """Return the problem to show the client for `error`; an unexpected error is logged and becomes a 500."""
    problem = _problem_of(error)
    if not isinstance(error, ProviderError):  # an upstream's limits are not ours
        tell_of_limit(problem.code, problem.message)
    return problem


def _problem_of(error: Exception) -> Problem:
    match error:
        case BadRequest():
            return error.problem
        case CompletionError():
            code = error.upstream_code if isinstance(error, ProviderError) and error.upstream_code else error.code
            return Problem(error.status, code, error.message, param=error.param, retry_after=error.retry_after)
        case RateLimited():
            return Problem(429, "rate_limit_exceeded", error.message, retry_after=error.retry_after)
        case TooManyFailures():
            return Problem(429, error.code, error.message, retry_after=error.retry_after)
        case NotAdmitted():
            return Problem(401, error.code, error.message)
        case RegistrationClosed():
            return Problem(403, "registration_closed", str(error))
        case CredentialsRefused():
            return Problem(403, "credentials_refused", str(error))
        case ScopeMissing():
            return Problem(403, MISSING_SCOPE, str(error))
        case NotRotatable():
            return Problem(409, "key_not_rotatable", str(error))
        case NotConfirmed():
            return Problem(403, "not_confirmed", str(error))
        case drf.ValidationError():
            return validation_problem(error.detail)
        case drf.AuthenticationFailed():
            return Problem(401, str(error.get_codes()), str(error.detail))
        case drf.NotAuthenticated():
            return Problem(401, "unauthorized", str(error.detail))
        case drf.APIException():
            return Problem(error.status_code, str(error.get_codes() or "error"), str(error.detail))
        case Http404() | django_exceptions.ObjectDoesNotExist():
            return NOT_FOUND
        case django_exceptions.PermissionDenied():
            return Problem(403, "forbidden", "Not allowed.")
        case BadCursor() | InvalidCursor():
            return Problem(400, "bad_cursor", str(error))
        case SearchNotAllowed():
            return Problem(403, "search_not_allowed", str(error))
        case StorageFull():
            return Problem(403, "storage_full", str(error))
        case FileTooLarge():
            return Problem(413, "request_too_large", str(error), param="file")
        case FilesFull():
            return Problem(403, "storage_full", str(error))
        case FileRefused():
            return Problem(400, "invalid_file", str(error), param="file")
        case ContentMissing():
            return Problem(404, "content_missing", "The content of this file is not in the storage any more.")
        case StorageLost():
            return STORAGE_UNAVAILABLE
        case LimitReached():
            return Problem(422, "limit_reached", str(error))
        case Busy():
            return Problem(409, "conversation_busy", str(error))
        case SharingRefused():
            return Problem(403, "sharing_refused", str(error))
        case NotAnAnswer():
            return Problem(400, "not_an_answer", str(error))
        case django_exceptions.ValidationError():
            return validation_problem(error.message_dict if hasattr(error, "error_dict") else error.messages)
        case django_exceptions.RequestDataTooBig():
            return too_large().problem
        case OperationalError() | InterfaceError() if is_passing(error):
            note_failure(error)
            return STORAGE_UNAVAILABLE
        case django_exceptions.SuspiciousOperation():  # such as a query string with a thousand parameters
            return Problem(400, "invalid_request", "The request is not valid.")
    logger.error("unexpected %s", name_of(type(error)), extra=unexpected(error))
    return Problem(500, "internal_error", "The service failed. It is not your fault.")


def with_request_id(fields: dict[str, Any], name: str = "request_id") -> dict[str, Any]:
    """Return the fields of an error with the request's id, by which its log lines are found; without it if none."""
    found = current().request_id
    return {**fields, name: found} if found else fields


def validation_problem(detail: Any) -> Problem:
    """Return a 400 problem for field errors in DRF's or Django's nested form."""
    if isinstance(detail, Mapping):
        first = next(iter(detail), None)
        return Problem(400, "validation_error", _first_message(detail) or "Invalid input.", detail, param=first)
    return Problem(400, "validation_error", _first_message(detail) or "Invalid input.", {"non_field_errors": detail})


def _first_message(detail: Any) -> str:
    if isinstance(detail, Mapping):
        for name, value in detail.items():
            text = _first_message(value)
            if text:
                return text if name == "non_field_errors" else f"{name}: {text}"
        return ""
    if isinstance(detail, (list, tuple)):
        return next((text for text in map(_first_message, detail) if text), "")
    return str(detail)
