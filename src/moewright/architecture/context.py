"""How many earlier tokens a token looks at, on average over a causal sequence (itself included)."""

from moewright.architecture.mixers import Window


def mean_context(tokens: int, limit: Window | int | None) -> float:
    """Mean over positions t = 1..tokens of the tokens in view.

    `limit` is None (all t), a number (at most so many) or a Window.
    """
    if limit is None:
        return (tokens + 1) / 2
    size = limit.size if isinstance(limit, Window) else limit
    if isinstance(limit, Window) and limit.kind == "chunked":
        blocks, rest = divmod(tokens, size)
        return (blocks * _triangle(size) + _triangle(rest)) / tokens
    ramp = min(tokens, size)
    return (_triangle(ramp) + (tokens - ramp) * size) / tokens


def compressed_entries(tokens: int, rate: int, limit: int | None) -> float:
    """Mean over t = 1..tokens of floor(t / rate), at most `limit`: entries of `rate` tokens each, once complete."""
    ramp = tokens if limit is None else min(tokens, limit * rate - 1)
    whole = ramp // rate
    on_ramp = rate * _triangle(whole - 1) + whole * (ramp - whole * rate + 1)
    return (on_ramp + (tokens - ramp) * (limit or 0)) / tokens


def _triangle(n: int) -> int:
    return n * (n + 1) // 2
