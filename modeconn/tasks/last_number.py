"""The last number in a text, exactly."""

import re
from decimal import Decimal
from fractions import Fraction

# What is written otherwise elsewhere: the minus sign, and the digits and marks of full width.
_PLAIN = str.maketrans("−０１２３４５６７８９．，", "-0123456789.,")
_NUMBER = re.compile(
    r"""
    (?<![^\W_])                                        # no digit that belongs to a word (CO2) or to a number
    (?P<sign>(?<![\w)])[-+])? [$€£¥]?                  # a sign stands after no word, digit or bracket: 3-5 has none
    (?: (?P<top>[0-9]+) \s?/\s? (?P<bottom>0*[1-9][0-9]*)
      | (?P<whole>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)? (?(whole)(?P<part>\.[0-9]+)?|(?P<only>\.[0-9]+))
        (?P<power>[eE][-+]?[0-9]{1,3}(?!\w))?
    )
    """,
    re.VERBOSE,
)


def last_number(text: str) -> Fraction | None:
    """The last number in a text, or None.

    A number is an optional sign, digits with or without commas between groups of three, an optional decimal part and
    an optional power of ten; or a fraction of two whole numbers. A currency before it, and a percent sign or a unit
    after it, do not count; digits that end a word (CO2) are no number. A decimal comma and a mixed number (2 1/2, of
    which the half counts) are not understood.

    Example:
        >>> [str(last_number(text)) for text in ("$1,234.50 in all.", "from 3 to −2 km", "1e3", "no idea", "3/4")]
        ['2469/2', '-2', '1000', 'None', '3/4']
    """
    found = None
    for found in _NUMBER.finditer(text.translate(_PLAIN)):  # noqa: B007  (the last one is wanted)
        pass
    if found is None:
        return None
    sign = -1 if found["sign"] == "-" else 1
    if found["top"]:
        return sign * Fraction(Decimal(found["top"])) / Fraction(Decimal(found["bottom"]))
    digits = (found["whole"] or "").replace(",", "") + (found["part"] or found["only"] or "") + (found["power"] or "")
    return sign * Fraction(Decimal(digits))  # int() would refuse thousands of digits
