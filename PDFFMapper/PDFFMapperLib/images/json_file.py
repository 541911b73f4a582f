"""JSON files in, with one sentence for whatever is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

from PDFFMapperLib.images.files import checked_name

LARGEST_BYTES = 50_000_000


def read_json(path: str | Path, what: str = "a JSON file") -> dict[str, object]:
    """Read a JSON file that holds one object.

    Args:
        path: of the file.
        what: what it should be, for the sentences ("a study file").

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON, too large or too deep, names a key twice, or is no object.
    """
    path = checked_name(Path(path))
    if path.stat().st_size > LARGEST_BYTES:
        raise ValueError(f"{path.name}: {what} is expected; this file is too large for one.")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_once)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name}: this is not {what}: it is not JSON ({error}).") from error
    except RecursionError:
        raise ValueError(f"{path.name}: this is not {what}: it is nested too deep.") from None
    except ValueError as error:
        raise ValueError(f"{path.name}: this is not {what}: {error}.") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path.name}: this is not {what}: a JSON object with named values is expected."
        )
    return content


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"'{twice[0]}' is there twice; keep one")
    return found
