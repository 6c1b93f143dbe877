"""What the providers' lists of models mean for policies and aliases: which of them nobody can serve."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from arbstr.config.schema import Config, Provider, Rule
from arbstr.config.toml_file import key_path
from arbstr.engine.routing.listing import ListedModel
from arbstr.engine.routing.names import ModelNames
from arbstr.sanitize import quoted

_NAMED = 5  # models, in one sentence


def policy_problems(config: Config, lists: Mapping[str, tuple[ListedModel, ...]]) -> Iterator[str]:
    """Yield a sentence for each rule and alias that no provider can serve; `lists` are by provider.

    What a provider without a list sells is not known, so nothing is said that depends on it.
    """
    names = ModelNames(config)
    for provider in config.providers:
        if provider.name in lists:
            names.learn(provider, lists[provider.name])
    for index, rule in enumerate(config.policies.rules):
        yield from _rule_problems(f"policies.rules[{index}]", rule, config.providers, lists, names)
    usable = [provider for provider in config.providers if not provider.is_inert]
    for alias in config.aliases:
        meant = names.resolve(alias.replace("*", ""))
        if "*" not in alias and _is_unsold(meant, usable, lists, names):
            yield f"{key_path(('aliases', alias))} stands for {quoted(meant)}, which no provider sells; correct it"


def _rule_problems(
    place: str,
    rule: Rule,
    providers: Iterable[Provider],
    lists: Mapping[str, tuple[ListedModel, ...]],
    names: ModelNames,
) -> Iterator[str]:
    allowed = [one for one in providers if not one.is_inert and _is_allowed(rule, one)]
    if not allowed:
        yield f"{place} ({quoted(rule.name)}) leaves no provider that can be used; correct its providers, or fund one"
        return
    for key, models in (("allowed_models", rule.allowed_models), ("fallback_models", rule.fallback_models)):
        unsold = [model for model in models if _is_unsold(names.resolve(model), allowed, lists, names)]
        if unsold:
            listed = ", ".join(map(quoted, unsold[:_NAMED]))
            more = f" and {len(unsold) - _NAMED} more" if len(unsold) > _NAMED else ""
            yield f"{place}.{key} ({quoted(rule.name)}): no provider sells {listed}{more}; correct or remove it"
    limit = rule.max_sats_per_1k_output
    if limit is not None and rule.allowed_models:
        cheapest = _cheapest(rule, allowed, lists, names)
        if cheapest is not None and cheapest > limit:
            yield (
                f"{place}.max_sats_per_1k_output ({quoted(rule.name)}) is {limit:g}, but its cheapest model "
                f"costs {cheapest:.6g}; raise it"
            )


def _is_allowed(rule: Rule, provider: Provider) -> bool:
    return (not rule.providers or provider.name in rule.providers) and provider.name not in rule.exclude_providers


def _is_unsold(
    model: str, providers: Iterable[Provider], lists: Mapping[str, tuple[ListedModel, ...]], names: ModelNames
) -> bool:
    """Return whether it is known that none of the providers sells a model."""
    return all(
        not one.serves(model) or (one.name in lists and names.standing(one, model) in ("absent", "unlisted"))
        for one in providers
    )


def _cheapest(
    rule: Rule, providers: Iterable[Provider], lists: Mapping[str, tuple[ListedModel, ...]], names: ModelNames
) -> float | None:
    """Return the lowest output rate of a rule's models, in sats per 1000 tokens; None if not all are known."""
    rates = []
    for provider in providers:
        for model in map(names.resolve, rule.allowed_models):
            if provider.serves(model) and provider.name not in lists:
                return None
            if names.standing(provider, model) in ("listed", "doubted"):
                rates.append(float(names.rates(provider, model).output))
    return min(rates, default=None)
