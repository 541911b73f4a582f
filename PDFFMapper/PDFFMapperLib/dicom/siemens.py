"""The private CSA header of Siemens, which tells what older public headers do not."""

from __future__ import annotations

import re

_READOUT_MODES = {b"1": "monopolar", b"2": "bipolar"}


def siemens_csa(data: bytes) -> dict[str, list[str]]:
    """The values of a Siemens CSA2 header ("SV10"), by name; {} if it is none.

    Format: https://nipy.org/nibabel/dicom/siemens_csa.html.
    """
    if data[:4] != b"SV10" or len(data) < 16:
        return {}
    values: dict[str, list[str]] = {}
    offset = 16
    for _ in range(int.from_bytes(data[8:12], "little")):
        if offset + 84 > len(data):
            break
        name = data[offset : offset + 64].split(b"\0")[0].decode("latin-1")
        items = int.from_bytes(data[offset + 76 : offset + 80], "little")
        offset += 84
        found = []
        for _ in range(items):
            length = int.from_bytes(data[offset + 4 : offset + 8], "little")
            text = data[offset + 16 : offset + 16 + length].split(b"\0")[0].decode("latin-1")
            if text.strip():
                found.append(text.strip())
            offset += 16 + (length + 3) // 4 * 4
            if offset > len(data):
                break
        values[name] = found
    return values


def readout_mode(data: bytes) -> str | None:
    """How the echoes of a multi-echo protocol were read, "monopolar" or "bipolar", if it says so.

    Args:
        data: a header that holds the protocol as text (lines of `name = value`).
    """
    found = re.search(rb"\bucReadOutMode\s*=\s*(?:0x)?(\d+)", data)
    return _READOUT_MODES.get(found[1]) if found else None
