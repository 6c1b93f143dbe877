"""The errors that arbstr raises deliberately.

::

    ArbstrError
    ├── ConfigError                  the configuration is refused; one line per problem
    ├── LedgerUnavailable            the database can't be opened or read
    ├── AddressInUse                 the listening address is taken
    ├── UnusableInput                a file given to a command is invalid
    ├── ClientGone                   the client closed its connection
    ├── AttemptError                 one attempt at one provider failed (see engine/upstream/caller.py)
    └── ApiError                     a response to a client: status, type, code
        ├── InvalidRequest           400  invalid_request_error
        │   ├── InvalidJson, MissingModel, InvalidMessages, InvalidParameter, UnsupportedParameter
        │   └── UnknownPolicy, ModelNotAllowed, NoProviderWithinPolicy
        ├── InvalidApiKey            401  authentication_error
        ├── BudgetExceeded           402  budget_error
        ├── InsufficientBalance      402  upstream_error
        ├── ForbiddenHost, ForbiddenOrigin, Forbidden          403  permission_error
        ├── ModelNotFound, NotFound                            404  invalid_request_error
        ├── MethodNotAllowed, RequestTooLarge, UnsupportedMediaType   405, 413, 415
        ├── HeadersTooLarge          431  invalid_request_error
        ├── RateLimited              429  rate_limit_error
        ├── InternalError            500  server_error
        ├── AllProvidersFailed, BadUpstreamResponse            502  upstream_error
        ├── NoHealthyProvider, Overloaded, ShuttingDown        503  upstream_error
        └── UpstreamTimeout          504  upstream_error
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from arbstr.types import FailureKind

if TYPE_CHECKING:
    from arbstr import shapes


class ArbstrError(Exception):
    """The root of arbstr's own errors; its text is written for people."""


class ConfigError(ArbstrError):
    """The configuration can't be used. `problems` holds one sentence each: file, key, what is wrong, how to mend it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class LedgerUnavailable(ArbstrError):
    """The database can't be opened, read or migrated; the text says which file and why."""


class AddressInUse(ArbstrError):
    """The listening address is in use by another program."""


class UnusableInput(ArbstrError):
    """A file given to a command is invalid; the text says which, where and why."""


class ClientGone(ArbstrError):
    """The client closed its connection before it had the whole answer."""


class AttemptError(ArbstrError):
    """One attempt at one provider failed.

    `retryable`: the same provider may be tried again. `sent`: it had the request, and did not report a failure.
    `retry_after_s` is how long the provider asked to wait, in seconds.
    """

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        status: int | None = None,
        retryable: bool = False,
        sent: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.retryable = retryable
        self.sent = sent
        self.retry_after_s = retry_after_s

    @property
    def may_be_billed(self) -> bool:
        """Whether the provider may still charge for it."""
        return self.sent or self.kind == "bad_response"

    @property
    def reached(self) -> bool:
        """Whether the provider can have read the request, so that the request itself may be what failed."""
        return self.sent or self.kind not in ("connect", "timeout")

    @property
    def counts_for_breaker(self) -> bool:
        """Whether the provider's breaker counts it."""
        return counts_for_breaker(self.kind, self.status)


def counts_for_breaker(failure: FailureKind, status: int | None) -> bool:
    """Return whether a failed attempt says something about the provider's service.

    A stale catalogue (404), an endpoint that is not there, a refusal of what the request says, a short balance (402)
    and a failed provider of the provider's own (424) do not.
    """
    return failure not in ("stale_catalogue", "no_endpoint", "content") and status not in (402, 424)


class ApiError(ArbstrError):
    """An error returned to the client, in OpenAI's shape.

    `param` names the field at fault; `retry_after_s` and `allowed` (the allowed methods) become headers; `policy` is
    the rule that applied.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        policy: str | None = None,
        allowed: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.policy = policy
        self.allowed = allowed

    def body(self) -> shapes.Error:
        """Return the JSON object for the client."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


class InvalidRequest(ApiError):
    """The request can't be served as it stands."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_parameter"


class InvalidJson(InvalidRequest):
    """The body is not a JSON object."""

    code = "invalid_json"


class MissingModel(InvalidRequest):
    """The body names no model."""

    code = "missing_model"


class InvalidMessages(InvalidRequest):
    """`messages` is absent or not a list of message objects."""

    code = "invalid_messages"


class InvalidParameter(InvalidRequest):
    """A field or query parameter has a wrong type or value."""


class UnsupportedParameter(InvalidRequest):
    """A field or value has no equivalent in the API that the model's providers speak."""

    code = "unsupported_parameter"


class UnknownPolicy(InvalidRequest):
    """`X-Arbstr-Policy` names no rule."""

    code = "unknown_policy"


class ModelNotAllowed(InvalidRequest):
    """The named rule does not allow the model."""

    code = "model_not_allowed"


class NoProviderWithinPolicy(InvalidRequest):
    """No provider of the model is within the rule's limits."""

    code = "no_provider_within_policy"


class InvalidApiKey(ApiError):
    """The bearer token is absent, wrong or no longer good."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class BudgetExceeded(ApiError):
    """A budget is spent until its period ends."""

    status = 402
    type = "budget_error"
    code = "budget_exceeded"


class InsufficientBalance(ApiError):
    """The balance is too low at every provider. `until_freed`: only while requests under way hold some of it."""

    status = 402
    type = "upstream_error"
    code = "insufficient_balance"

    def __init__(
        self, message: str, *, param: str | None = None, policy: str | None = None, until_freed: bool = False
    ) -> None:
        super().__init__(message, param=param, policy=policy)
        self.until_freed = until_freed


class ForbiddenHost(ApiError):
    """The `Host` header is not one of arbstr's addresses."""

    status = 403
    type = "permission_error"
    code = "forbidden_host"


class ForbiddenOrigin(ForbiddenHost):
    """A web page of another origin sent the request."""

    code = "forbidden_origin"


class Forbidden(ApiError):
    """A client's key does not open it: it is about others too."""

    status = 403
    type = "permission_error"
    code = "forbidden"


class NotFound(ApiError):
    """There is no endpoint at that path, or no entry with that id."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"


class ModelNotFound(NotFound):
    """No provider serves the model."""

    code = "model_not_found"


class MethodNotAllowed(ApiError):
    """The path exists, but not for this method."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class RequestTimeout(ApiError):
    """The request did not arrive in time."""

    status = 408
    type = "invalid_request_error"
    code = "request_timeout"


class RequestTooLarge(ApiError):
    """The body is larger than `max_request_mb`."""

    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class UnsupportedMediaType(ApiError):
    """The body is not labelled as JSON."""

    status = 415
    type = "invalid_request_error"
    code = "unsupported_media_type"


class HeadersTooLarge(ApiError):
    """A header of the request is too long, or all of them together."""

    status = 431
    type = "invalid_request_error"
    code = "headers_too_large"


class RateLimited(ApiError):
    """More requests a second than `rate_limit_rps`, or than any provider takes."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limited"


class InternalError(ApiError):
    """An unexpected error in arbstr."""


class AllProvidersFailed(ApiError):
    """Every candidate was tried and failed."""

    status = 502
    type = "upstream_error"
    code = "all_providers_failed"


class BadUpstreamResponse(AllProvidersFailed):
    """Every attempt ended in a 200 that could not be used, or a stream broke off."""

    code = "bad_upstream_response"


class NoHealthyProvider(ApiError):
    """Every provider of the model has an open breaker or is out of rotation."""

    status = 503
    type = "upstream_error"
    code = "no_healthy_provider"


class Overloaded(NoHealthyProvider):
    """More requests in flight than `max_in_flight`."""

    code = "overloaded"


class ShuttingDown(NoHealthyProvider):
    """arbstr is shutting down and accepts no new requests."""

    code = "shutting_down"


class UpstreamTimeout(ApiError):
    """Every attempt timed out."""

    status = 504
    type = "upstream_error"
    code = "upstream_timeout"
