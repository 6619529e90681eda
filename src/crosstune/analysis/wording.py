"""How numbers are written in sentences."""

from __future__ import annotations


def points(gain: float) -> str:
    """A difference of scores times 100, with its sign.

    Example:
        >>> points(-0.687), points(0.05), points(-0.0001)
        ('−68.7', '+5.0', '0.0')
    """
    text = f"{100 * gain:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


def probability(q: float) -> str:
    """A p- or q-value after its sign, to three decimals.

    Example:
        >>> probability(0.0421), probability(1e-9)
        ('= 0.042', '< 0.001')
    """
    return "< 0.001" if q < 0.001 else f"= {q:.3f}"


def percent(share: float) -> str:
    """A share of something counted.

    Example:
        >>> percent(0.123)
        '12 %'
    """
    return f"{100 * share:.0f} %"


def listed(names: list[str], most: int = 6) -> str:
    """Names in a row, the last ones as a number where they are many.

    Example:
        >>> listed(["a", "b", "c"], 2)
        'a; b and 1 more'
    """
    more = len(names) - most
    return "; ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def counted(count: int, thing: str) -> str:
    """A number with its noun.

    Example:
        >>> counted(1, "cell"), counted(6000, "answer")
        ('1 cell', '6,000 answers')
    """
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
