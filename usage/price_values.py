"""What was used and what it costs: plain values, without the database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Tokens:
    """What one request used, as in OpenAI's usage object: `cached` is part of `input`, `reasoning` of `output`."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0
    images: int = 0
    requests: int = 1

    def consistent(self) -> Tokens:
        """Return them with no part greater than its whole and nothing negative, whatever the upstream reported."""
        asked, answered = max(0, self.input), max(0, self.output)
        cached, reasoning = min(max(0, self.cached), asked), min(max(0, self.reasoning), answered)
        return Tokens(asked, cached, answered, reasoning, max(0, self.images), max(0, self.requests))


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs at one moment.

    `source` is "own" or "genai-prices"; `max_output_tokens` is None if it is not known. `calculate` returns millionths
    of the currency unit, not rounded, for tokens that are consistent.
    """

    source: str
    currency: str
    max_output_tokens: int | None
    calculate: Callable[[Tokens], Decimal] = field(repr=False)

    def cost(self, tokens: Tokens) -> int:
        """Return what one request cost, in millionths of the currency unit, rounded half up."""
        return int(self.calculate(tokens.consistent()).to_integral_value(ROUND_HALF_UP))

    def worst_case(self, tokens: Tokens) -> int:
        """Return the most that `input` and `output` tokens can cost, whatever is cached or reasoning among them."""
        return max(
            self.cost(Tokens(tokens.input, cached, tokens.output, reasoning, tokens.images, tokens.requests))
            for cached in (0, tokens.input)
            for reasoning in (0, tokens.output)
        )


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices per million tokens, which are millionths of the currency unit per token; the last two per million."""

    input: Decimal
    cached_input: Decimal
    output: Decimal
    reasoning: Decimal
    per_image: Decimal
    per_request: Decimal

    def calculate(self, tokens: Tokens) -> Decimal:
        return (
            self.input * (tokens.input - tokens.cached)
            + self.cached_input * tokens.cached
            + self.output * (tokens.output - tokens.reasoning)
            + self.reasoning * tokens.reasoning
            + MILLION * (self.per_image * tokens.images + self.per_request * tokens.requests)
        )
