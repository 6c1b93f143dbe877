"""The lists of models that providers publish: read at the start, then every `refresh` seconds.

Of OpenAI-compatible providers only those are asked that are configured without models, for the names; one whose list is
unknown may have any model. A Routstr node's list decides what it sells, and at which rates. Nothing waits for a list.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

import httpx

from arbstr.config.schema import Provider
from arbstr.engine.learning.codec import Cells
from arbstr.engine.routing.listing import ListedModel
from arbstr.engine.routing.names import ModelNames
from arbstr.market.fetching import fetch, get_request
from arbstr.market.model_lists import read_ids, read_priced
from arbstr.market.price_jumps import believed
from arbstr.market.saved_lists import SavedList, decode, encode
from arbstr.redaction import Redactor
from arbstr.sanitize import sanitize_clause
from arbstr.types import Rates

logger = logging.getLogger(__name__)

AGAIN_S = 5.0  # after the first failure; then twice as long each time, up to `refresh`
WAIT_S = 3.0  # after the start, for who wants the first lists
PATIENCE_S = 30.0
JITTER = 0.2  # up to this share earlier: several arbstrs do not ask at once
STALE_S = 600.0  # after which a node's prices are doubted

_KIND = "catalogue"  # of learned state


class Catalogues:
    """Reads providers' lists, and tells `names`. `now_ms` is the wall clock, for lists are kept over restarts."""

    def __init__(
        self,
        providers: Iterable[Provider],
        names: ModelNames,
        transport: httpx.AsyncBaseTransport,
        redactor: Redactor,
        *,
        random: Callable[[], float],
        now_ms: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._providers = tuple(
            one for one in providers if not one.is_inert and (one.kind == "routstr" or not one.models)
        )
        self._names = names
        self._transport = transport
        self._redactor = redactor
        self._random = random
        self._now_ms = now_ms
        self._sleep = sleep
        self._known: dict[str, SavedList] = {}
        self._unsaved: set[str] = set()
        self._doubted: dict[str, dict[str, Rates]] = {one.name: {} for one in self._providers}
        self._on_jumps: Callable[[str, Collection[str]], None] = lambda provider, models: None
        self._on_read: Callable[[str], None] = lambda provider: None
        self._asked: set[str] = set()
        self._heard: set[str] = set()  # from others, since the last pause here
        self._settled = asyncio.Event()

    def take_over(self, before: Catalogues, staying: Collection[str]) -> None:
        """Go on with the lists, and the doubts about prices, that an earlier reader has of the providers that stay.

        They are read again when it would have done so, those excepted whose configuration has changed otherwise.
        """
        self._unsaved |= before._unsaved & set(staying)
        unchanged = {one.name for one in self._providers if one in before._providers}
        self._asked = before._asked & unchanged
        for provider in self._providers:
            if provider.name in staying:
                self._doubted[provider.name] = before._doubted.get(provider.name, {})
            if provider.name in staying and (known := before._known.get(provider.name)) is not None:
                self._known[provider.name] = known
                self._learn_again(provider, known)

    async def run(self) -> None:
        """Read all lists, again and again."""
        try:
            async with asyncio.TaskGroup() as group:
                for provider in self._providers:
                    group.create_task(self._follow(provider))
                if len(self._asked) < len(self._providers):
                    await self._sleep(WAIT_S)
                self._settled.set()
        finally:
            self._settled.set()

    def on_jumps(self, listener: Callable[[str, Collection[str]], None]) -> None:
        """Call `listener` after each reading with the models whose prices have just jumped; it must be quick."""
        self._on_jumps = listener

    def on_read(self, listener: Callable[[str], None]) -> None:
        """Call `listener` after each reading of a provider's list that has brought one; it must be quick."""
        self._on_read = listener

    def known(self, provider: str) -> tuple[str, float] | None:
        """Return a provider's list, exported, and the seconds since it was read; None if there is none."""
        known = self._known.get(provider)
        return None if known is None else (encode(known), max(0.0, (self._now_ms() - known.at_ms) / 1000))

    def hear(self, name: str, text: str, age_s: float) -> None:
        """Take an exported list that another arbstr has read `age_s` ago, if it is newer; it is doubted like any."""
        provider = next((one for one in self._providers if one.name == name), None)
        heard, at_ms = decode(text), self._now_ms() - int(age_s * 1000)
        if provider is None or heard is None or heard.url != provider.url or not heard.models:
            return
        known = self._known.get(name)
        if known is None or known.at_ms < at_ms:
            self._learn(provider, tuple(model for model in heard.models if self._is_fit(model.id)), at_ms)
            self._heard.add(name)

    async def first_lists(self) -> None:
        """Wait until every provider has been asked once, at most until `WAIT_S` after the start."""
        await self._settled.wait()

    async def _follow(self, provider: Provider) -> None:
        failures = 0
        if provider.name in self._asked:
            await self._sleep(self._left_s(provider))
        while True:
            problem = await self._read(provider)
            self._asked.add(provider.name)
            if len(self._asked) == len(self._providers):
                self._settled.set()
            if problem and not failures:
                logger.warning("provider %s does not say which models it has: %s", provider.name, problem)
            failures = failures + 1 if problem else 0
            self._heard.discard(provider.name)
            await self._sleep(self._pause_s(provider, failures))
            while provider.name in self._heard:  # another arbstr has read it meanwhile
                self._heard.discard(provider.name)
                await self._sleep(self._left_s(provider) * (1 - JITTER * self._random()))

    def _pause_s(self, provider: Provider, failures: int) -> float:
        """Return how long to wait before a list is read again, in seconds."""
        most_s = AGAIN_S * 2.0 ** min(failures - 1, 16) if failures else provider.refresh
        return min(most_s, provider.refresh) * (1 - JITTER * self._random())

    def _left_s(self, provider: Provider) -> float:
        """Return how long to wait until a list that was read before is due again, in seconds."""
        known = self._known.get(provider.name)
        age_s = provider.refresh if known is None else (self._now_ms() - known.at_ms) / 1000
        return min(max(provider.refresh - age_s, 0.0), provider.refresh)

    async def _read(self, provider: Provider) -> str | None:
        """Read one provider's list; return what went wrong, None if nothing did. No fault in it ends the reading."""
        try:
            request = get_request(
                f"{provider.url}/models",
                key=provider.api_key,
                proxy=provider.proxy,
                connect_s=provider.timeouts.connect,
            )
            answer = await fetch(self._transport, request, within_s=PATIENCE_S)
            read = read_priced if provider.kind == "routstr" else read_ids
            models = read(answer.content(), self._is_fit)
        except Exception as error:
            self._doubt_if_stale(provider)
            return sanitize_clause(self._redactor.text(str(error) or type(error).__name__))
        if not models:
            self._doubt_if_stale(provider)
            return "what it answers is no list of models"
        self._learn(provider, models, self._now_ms())
        self._unsaved.add(provider.name)
        self._on_read(provider.name)
        return None

    def _learn(self, provider: Provider, read: tuple[ListedModel, ...], at_ms: int) -> None:
        known = self._known.get(provider.name)
        rates = {} if known is None else {model.id: model.rates for model in known.models if model.rates is not None}
        doubted = self._doubted[provider.name]
        models = believed(rates, read, doubted)
        if doubted:
            logger.info(
                "provider %s: prices of %d models changed tenfold; read again before use", provider.name, len(doubted)
            )
        self._on_jumps(provider.name, doubted.keys())
        self._known[provider.name] = SavedList(provider.url, at_ms, models)
        self._names.learn(provider, models)

    def _doubt_if_stale(self, provider: Provider) -> None:
        known = self._known.get(provider.name)
        if known is not None:
            self._learn_again(provider, known)

    def _learn_again(self, provider: Provider, known: SavedList) -> None:
        """Tell of a list that was read before."""
        age_s = max(self._now_ms() - known.at_ms, 0) / 1000
        self._names.learn(provider, known.models, doubted=self._is_stale(provider, known), age_s=age_s)

    def _is_stale(self, provider: Provider, known: SavedList) -> bool:
        """Return whether prices are old; names of models do not become so. A clock may have been set back."""
        return provider.kind == "routstr" and not 0 <= self._now_ms() - known.at_ms <= STALE_S * 1000

    def export(self) -> Cells:
        """Return the lists that were read since the last call, to be kept over a restart."""
        names, self._unsaved = self._unsaved, set()
        return {(_KIND, name): encode(self._known[name]) for name in names}

    def restore(self, cells: Mapping[tuple[str, str], str]) -> None:
        """Restore exported lists, those of providers that are still where they were."""
        for provider in self._providers:
            saved = decode(cells.get((_KIND, provider.name), ""))
            if saved is not None and saved.url == provider.url and saved.models:
                self._known[provider.name] = saved
                self._learn_again(provider, saved)

    def _is_fit(self, name: str) -> bool:
        return self._redactor.text(name) == name
