"""What a fake provider answers, before a dialect gives it a shape."""

from __future__ import annotations

from dataclasses import dataclass, field

from arbstr.mock.billing import Bill
from arbstr.mock.parsed_request import ParsedRequest, Tool


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool; the tokens are its arguments, or the input of a custom tool."""

    id: str
    tool: Tool
    tokens: list[str] = field(repr=False)

    @property
    def arguments(self) -> str:
        """The arguments in one piece."""
        return "".join(self.tokens)


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice: its reasoning, then text or calls, and why it ended: `stop`, `length` or `tool_calls`."""

    tokens: list[str] = field(repr=False)
    finish_reason: str
    calls: tuple[ToolCall, ...] = ()
    reasoning: list[str] = field(default_factory=list, repr=False)

    @property
    def text(self) -> str:
        """The text in one piece."""
        return "".join(self.tokens)

    @property
    def thoughts(self) -> str:
        """The reasoning in one piece."""
        return "".join(self.reasoning)

    @property
    def token_count(self) -> int:
        """The number of tokens, reasoning included."""
        return len(self.tokens) + len(self.reasoning) + sum(len(call.tokens) for call in self.calls)


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer: its choices and its bill (None: the provider does not say). `id` has no prefix."""

    id: str
    created_s: int
    request: ParsedRequest
    choices: list[Choice]
    bill: Bill | None

    @property
    def model(self) -> str:
        """The model that was asked for."""
        return self.request.model

    @property
    def token_count(self) -> int:
        """The number of tokens in all choices."""
        return sum(choice.token_count for choice in self.choices)
