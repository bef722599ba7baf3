"""Quantities: numbers as people write them: plain digits, lengths with their unit, counts with their noun."""

from __future__ import annotations

from decimal import Decimal


def plain(value: float, digits: int = 4) -> str:
    """A number in plain digits, never with an exponent.

    Parameters
    ----------
    value : float
        Any; NaN and infinity are spelt out.
    digits : int
        Significant digits kept; zeros that say nothing are left out.

    Examples
    --------
    >>> plain(30.0), plain(0.000083333), plain(4199985.0, 9)
    ('30', '0.00008333', '4199985')
    """
    text = f"{Decimal(f'{value + 0.0:.{digits - 1}e}'):f}"  # + 0.0: -0.0 becomes 0.0
    return text.rstrip("0").rstrip(".") if "." in text else text


def length(metres: float, digits: int = 4) -> str:
    """A length on the ground: metres, from 1000 on kilometres.

    Parameters
    ----------
    metres : float
        The length.
    digits : int
        Significant digits.

    Examples
    --------
    >>> length(30), length(0.5), length(111320)
    ('30 m', '0.5 m', '111.3 km')
    """
    return f"{plain(metres / 1000, digits)} km" if abs(metres) >= 1000 else f"{plain(metres, digits)} m"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A count and what is counted: '1 block', '2 blocks'.

    Parameters
    ----------
    number : int
        How many.
    noun : str
        One of them.
    plural : str, optional
        Several of them; default: the noun with an s.

    Examples
    --------
    >>> counted(1, "block"), counted(0, "block"), counted(2, "class", "classes")
    ('1 block', '0 blocks', '2 classes')
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
