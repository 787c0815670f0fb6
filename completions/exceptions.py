"""Everything that can go wrong between a question and its answer.

    CompletionError
    ├── Refused                     the run was never accepted: nothing is stored
    │   ├── InvalidRequest          400
    │   ├── ModelNotAllowed         403, by the setting MODELS_ALLOWED or limits of its own
    │   ├── ParameterNotAllowed     403, by the setting FORBIDDEN_PARAMETERS
    │   ├── UnknownConversation     404, a foreign one included
    │   ├── ConversationBusy        409, an answer is already on its way
    │   ├── NothingToContinue       409, the answer was not cut off
    │   ├── IdempotencyMismatch     422, same key with another request
    │   ├── TooManyRuns             429, rate or concurrency
    │   │   └── QueueFull           429, as many as may wait in a conversation
    │   ├── TooManyMessages         429, rows a minute
    │   ├── BudgetExhausted         429, it could cost more than a budget has left
    │   ├── StorageFull             403, the account has reached its storage limit
    │   ├── HistoryChanged          409, what it resends was deleted at the same time; tried again before anyone is told
    │   ├── ShuttingDown            503
    │   └── StorageUnavailable      503, the database does not answer
    └── ProviderError               accepted, then the upstream let us down: the run ends `failed`
        ├── UpstreamUnreachable     502  refused, DNS, TLS
        ├── UpstreamUnavailable     503  not asked at all: given up on for a while, or no connection free
        ├── UpstreamTimeout         504  no first byte in time
        ├── UpstreamStalled         504  content stopped arriving
        ├── UpstreamTruncated       502  ended without a finish reason
        ├── UpstreamInvalid         502  not the OpenAI wire
        ├── UpstreamUnauthorized    502  our credentials, not the client's
        ├── UpstreamRejected        4xx  the upstream's own verdict on the request
        ├── UpstreamRateLimited     429
        ├── UpstreamFailed          502  the upstream's 5xx, or an error inside its 200
        ├── OutputLimit             502  longer than we are willing to store
        └── DeadlineExceeded        504  the whole run took too long

`code` is stable and public; `message` is safe to show: it never holds a key, a prompt or an answer.
"""

from __future__ import annotations


class CompletionError(Exception):
    code = "internal_error"
    status = 500
    default_message = "The service failed to answer."

    def __init__(self, message: str = "", *, retry_after: int | None = None, param: str | None = None) -> None:
        self.message = message or self.default_message
        self.retry_after = retry_after
        self.param = param
        super().__init__(self.message)


class Refused(CompletionError):
    code = "refused"
    status = 400
    default_message = "The request was refused."


class InvalidRequest(Refused):
    code = "invalid_request"
    default_message = "The request is not valid."


class LimitReached(InvalidRequest):
    code = "limit_reached"
    status = 422
    default_message = "A limit on what is stored is reached."


class ModelNotAllowed(Refused):
    code = "model_not_allowed"
    status = 403
    default_message = "This model is not allowed for this account (MODELS_ALLOWED)."


class ParameterNotAllowed(Refused):
    code = "parameter_not_allowed"
    status = 403
    default_message = "This parameter is not allowed here (FORBIDDEN_PARAMETERS)."


class UnknownConversation(Refused):
    code = "not_found"
    status = 404
    default_message = "Conversation not found."


class ConversationBusy(Refused):
    code = "conversation_busy"
    status = 409
    default_message = "An answer is already being written in this conversation."


class NothingToContinue(Refused):
    code = "nothing_to_continue"
    status = 409
    default_message = "Only an answer that was cut off can be continued."


class IdempotencyMismatch(Refused):
    code = "idempotency_mismatch"
    status = 422
    default_message = "This Idempotency-Key was used with a different request."


class TooManyRuns(Refused):
    code = "rate_limit_exceeded"
    status = 429
    default_message = "Too many answers at once."


class QueueFull(TooManyRuns):
    code = "queue_full"
    default_message = "Too many questions wait in this conversation."


class BudgetExhausted(Refused):
    code = "insufficient_quota"
    status = 429
    default_message = "A budget is used up."


class TooManyMessages(Refused):
    code = "rate_limit_exceeded"
    status = 429
    default_message = "Too many messages were stored within a minute."


class StorageFull(Refused):
    code = "storage_full"
    status = 403
    default_message = "The account has reached its storage limit."


class HistoryChanged(Refused):
    code = "history_changed"
    status = 409
    default_message = "The history that this request resends is changing; try again."


class ShuttingDown(Refused):
    code = "shutting_down"
    status = 503
    default_message = "The service is restarting."


class StorageUnavailable(Refused):
    code = "storage_unavailable"
    status = 503
    default_message = "The service cannot store anything right now."


class ProviderError(CompletionError):
    code = "upstream_error"
    status = 502
    default_message = "The model's server failed."

    unbilled = False
    """Provably nothing was generated: the question may go out again, or elsewhere."""
    refused = False
    """A 5xx, before any byte of an answer: something may have been generated, but none of it will ever be seen."""
    upstream = ""
    """Who failed, where several could have answered."""
    upstream_code: str | None = None
    """The upstream's own name for what is wrong, shown in place of `code`."""

    @property
    def retryable(self) -> bool:
        """Whether the client may ask again: then the same Idempotency-Key starts anew."""
        return self.unbilled or self.refused


class UpstreamUnreachable(ProviderError):
    code = "upstream_unreachable"
    default_message = "The model's server cannot be reached."


class UpstreamUnavailable(ProviderError):
    code = "upstream_unavailable"
    status = 503
    default_message = "The model's server cannot be reached right now."
    unbilled = True


class UpstreamTimeout(ProviderError):
    code = "upstream_timeout"
    status = 504
    default_message = "The model's server did not answer in time."


class UpstreamStalled(ProviderError):
    code = "upstream_stalled"
    status = 504
    default_message = "The model's server stopped sending."


class UpstreamTruncated(ProviderError):
    code = "upstream_truncated"
    default_message = "The model's answer was cut off."


class UpstreamInvalid(ProviderError):
    code = "upstream_invalid"
    default_message = "The model's server sent something that is not an answer."


class UpstreamUnauthorized(ProviderError):
    code = "upstream_unauthorized"
    default_message = "The model's server refused this service's credentials."
    unbilled = True


class UpstreamRejected(ProviderError):
    """The upstream refused with a 4xx, also inside a 200: its `code` and `message` are passed on if it sent any."""

    code = "upstream_rejected"
    status = 400
    default_message = "The model's server rejected the request."

    def __init__(
        self, message: str = "", *, status: int = 400, upstream_code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message, param=param)
        self.status = status
        self.upstream_code = upstream_code


class UpstreamRateLimited(ProviderError):
    code = "upstream_rate_limited"
    status = 429
    default_message = "The model's server is receiving too many requests."
    unbilled = True


class UpstreamFailed(ProviderError):
    code = "upstream_error"


class OutputLimit(ProviderError):
    code = "output_limit"
    default_message = "The model's answer is longer than this service can store."


class DeadlineExceeded(ProviderError):
    code = "deadline_exceeded"
    status = 504
    default_message = "The answer took too long."
