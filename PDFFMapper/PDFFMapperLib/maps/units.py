"""Units as people write them."""

import re

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "^")


def with_powers(text: str) -> str:
    """Exponents raised: 10⁻³ mm²/s for 10^-3 mm^2/s; other text, as of names, stays as it is."""
    if "^" not in text:  # as of most; the pattern takes longer to compile than a panel's row
        return text
    return re.sub(r"(?<=10|[cmu]m)\^-?\d+", lambda match: match[0].translate(_RAISED), text)
