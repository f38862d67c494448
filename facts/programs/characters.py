"""Halves of UTF-16 pairs: what JSON may carry as an escape, or a terminal for a byte that is no UTF-8, and is no text.

Standard library only. A tokenizer that meets one says something about its own types; who asks is told here instead.
"""

import re

_HALF = re.compile("[\ud800-\udfff]")


def complaint(text: str) -> str:
    """What is wrong with a text that cannot be written as UTF-8, and where; empty when it can."""
    found = _HALF.search(text)
    if not found:
        return ""
    code = ord(found[0])
    # Python keeps a byte that it could not decode as U+DC00 and the byte.
    what = f"the byte 0x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"half of a pair, U+{code:04X}"
    return f"character {found.start() + 1} is {what}, which is no character of UTF-8"
