"""Filler text for questions and answers, cut into pieces of about a token each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random

CHARS_PER_TOKEN = 4  # the rule of thumb by which fake providers count prompts

_TOKEN = re.compile(r"\s*\w{1,6}|\s*[^\w\s]|\s+$")

_PROSE = (
    "The short answer is that it depends on how often you read the data compared with how often you write it.",
    "Start with the simplest thing that could work, measure it, and only then decide what deserves your time.",
    "Most people expect the network to be the slow part here, but in practice it is usually the disk.",
    "There are three things to look at: where the time goes, what it costs you, and who notices.",
    "A good first step is to write down what you already know, and to mark what you merely believe.",
    "If you run it twice with the same input you should see the same result; if not, look at the clock first.",
    "The older approach still works well for small groups, and it has the advantage that everybody knows it.",
    "In the long run the difference is small, yet on the first day it is all that anyone will talk about.",
    "You can leave that option as it is, since the default was chosen for exactly this case.",
    "Think of it as a library: the catalogue is small and quick to search, the shelves are not.",
    "That said, I would not change it before a deadline, because the way back takes longer than the way there.",
    "To summarise, keep the two parts separate, give each a name that says what it does, and test the border.",
    "Historically the two names meant different things, which is why the documentation still mentions both.",
    "One exception is worth knowing: when the list is empty the average is not zero, it does not exist.",
    "For a trip of four days I would pick two towns rather than four, and leave the last morning open.",
    "Let the dough rest overnight; the flavour improves, and it becomes much easier to shape.",
)
_CODE = (
    "def total(orders: list[Order]) -> int:\n    return sum(order.price * order.count for order in orders)\n",
    "for path in folder.glob('*.csv'):\n    with path.open() as lines:\n        table.extend(csv.reader(lines))\n",
    "if not name:\n    raise ValueError('a name is needed')\n",
    "async def fetch(url: str) -> bytes:\n    async with session.get(url) as page:\n        return await page.read()\n",
    "seen: set[str] = set()\nunique = [word for word in words if not (word in seen or seen.add(word))]\n",
    "try:\n    value = int(text)\nexcept ValueError:\n    value = default\n",
    "@dataclass(frozen=True)\nclass Point:\n    x: float\n    y: float\n",
    "counts = Counter(line.split()[0] for line in log)\nprint(counts.most_common(10))\n",
)
_LOOKS_LIKE_CODE = re.compile(r"\b(?:code|function|class|implement|bug|refactor|def|script)", re.IGNORECASE)


def answer(question: str, random: Random, most: int, *, whole: bool) -> list[str]:
    """Return an answer of exactly that many tokens, or, if `whole`, the sentences that fit in them."""
    sentences = _sentences(random, code=_LOOKS_LIKE_CODE.search(question[-2000:]) is not None)
    tokens = tokens_of(next(sentences))
    while len(tokens) < most:
        more = tokens_of(next(sentences))
        if whole and len(tokens) + len(more) > most:
            break
        tokens += more
    return tokens[:most]


def passage(random: Random, chars: int, *, code: bool) -> str:
    """Return text or code of exactly that many characters, to ask about."""
    sentences = _sentences(random, code=code)
    pieces: list[str] = []
    while chars > 0:
        pieces.append(next(sentences)[:chars])
        chars -= len(pieces[-1])
    return "".join(pieces)


def tokens_of(text: str) -> list[str]:
    """Cut a text into tokens: words, pieces of long words, punctuation. Joined, they are the text."""
    return _TOKEN.findall(text)


def _sentences(random: Random, *, code: bool) -> Iterator[str]:
    """Yield sentences in random order: none repeats before all others have come."""
    bank, between = (_CODE, "\n") if code else (_PROSE, " ")
    before = ""
    while True:
        for sentence in random.sample(bank, len(bank)):
            yield before + sentence
            before = between
