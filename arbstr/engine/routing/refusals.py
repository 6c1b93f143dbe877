"""The errors for requests without candidates: why nobody may serve them, and what would help."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from arbstr.engine.routing.candidates import CandidateSet, LeftOut
from arbstr.engine.routing.names import shown, some, wanted
from arbstr.engine.routing.offer import Offer
from arbstr.errors import (
    ApiError,
    InsufficientBalance,
    ModelNotFound,
    NoHealthyProvider,
    NoProviderWithinPolicy,
    NotFound,
)
from arbstr.money import format_sats
from arbstr.types import InferenceRequest

UNAVAILABLE = "breaker open, out of rotation, or at max_in_flight"
_UNFUNDED_S = 60.0
_UNREAD_S = 2.0  # after which a request may find a list that is being read now


def refusal(
    request: InferenceRequest,
    candidate_set: CandidateSet,
    left_out: LeftOut,
    *,
    unable: Mapping[str, str],
    retry_after_s: Callable[[Iterable[str]], float],
    served: Iterable[str],
    any_key: bool,
) -> ApiError:
    """Return the error for a request without candidates.

    For the arguments see `Router`; `served` are all models, `any_key`: a provider can be asked at all.
    """
    what, policy = wanted(candidate_set.model, request.dialect), candidate_set.policy
    unavailable, excluded = left_out.unavailable, left_out.excluded
    if unavailable:
        message = f"No provider is available for {what}: {', '.join(unavailable)} ({UNAVAILABLE})."
        return NoHealthyProvider(message, retry_after_s=retry_after_s(unavailable), policy=policy)
    if left_out.unfunded:
        return insufficient_balance(request, candidate_set.model, left_out.unfunded, policy)
    if excluded:
        return _excluded(what, request.dialect, excluded, unable, policy)
    return _unsold(candidate_set, what, served, any_key=any_key)


def _unsold(candidate_set: CandidateSet, what: str, served: Iterable[str], *, any_key: bool) -> ApiError:
    """Return the error for a model that no provider is known to sell."""
    if candidate_set.unread:
        names = ", ".join(candidate_set.unread)
        message = f"No provider is known to sell {what} yet; the lists of {names} are being read."
        return NoHealthyProvider(message, retry_after_s=_UNREAD_S, policy=candidate_set.policy)
    if not any_key:
        message = "No provider has a key; 'arbstr fund PROVIDER' gets one from a Routstr node."
        return NoHealthyProvider(message, retry_after_s=_UNFUNDED_S, policy=candidate_set.policy)
    if not candidate_set.model:
        return NotFound(f"No provider serves {what}: none is of kind openai.")
    return ModelNotFound(f"No provider serves {what}; served: {some(served)}.", param="model")


def _excluded(
    what: str, dialect: str, excluded: Sequence[tuple[str, str]], unable: Mapping[str, str], policy: str | None
) -> ApiError:
    if all(provider in unable for provider, _ in excluded):
        names = ", ".join(provider for provider, _ in excluded)
        return ModelNotFound(f"No provider of {what} speaks {dialect}: not {names}.", param="model")
    limits = "the tolerated overcharge" if policy is None else f"the limits of policy {shown(policy)}"
    reasons = "; ".join(f"{provider}: {reason}" for provider, reason in excluded)
    return NoProviderWithinPolicy(f"No provider of {what} is within {limits}: {reasons}.", param="model", policy=policy)


def insufficient_balance(
    request: InferenceRequest, model: str, offers: Sequence[Offer], policy: str | None
) -> InsufficientBalance:
    """Return the error for a request that no balance does for; it names the largest cap that would fit."""
    shortages = "; ".join(f"{offer.provider}: {shortage(offer, request)}" for offer in offers)
    message = f"The balance is insufficient for {wanted(model, request.dialect)} at every provider. {shortages}."
    until_freed = any(_affords_when_idle(offer, request) for offer in offers)
    caps = [(cap, offer.provider) for offer in offers if (cap := _largest_cap(offer, request)) is not None]
    if not caps:
        advice = "Requests under way hold the money." if until_freed else "No max_tokens would fit: top up a balance."
        return InsufficientBalance(f"{message} {advice}", policy=policy, until_freed=until_freed)
    cap, provider = max(caps, key=lambda fitting: fitting[0])
    advice = f"The largest max_tokens that would fit is {cap}, at {provider}."
    return InsufficientBalance(f"{message} {advice}", param="max_tokens", policy=policy, until_freed=until_freed)


def _affords_when_idle(offer: Offer, request: InferenceRequest) -> bool:
    return offer.funds is not None and offer.funds.affords_when_idle(offer.terms, request)


def _largest_cap(offer: Offer, request: InferenceRequest) -> int | None:
    return None if offer.funds is None else offer.funds.largest_cap(offer.terms, request)


def shortage(offer: Offer, request: InferenceRequest) -> str:
    """Return in words why the money at an offer's provider does not do for a request."""
    funds = offer.funds
    if funds is None or math.isinf(funds.free_msats):
        return "its balance is not known"
    free, needed = int(funds.free_msats), funds.needs(offer.terms, request)
    if needed <= free:
        return "it has refused a request for want of money, and its balance has not grown since"
    return f"it would reserve {format_sats(needed)} sats, and {format_sats(max(free, 0))} are free"
