"""JSON files: in, with one sentence for whatever is wrong with them; out, whole and without NaN."""

from __future__ import annotations

import json
import math
from dataclasses import fields, is_dataclass
from pathlib import Path

from PDFFMapperLib.images.files import checked_name, written_whole

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
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ValueError(
            f"{path.name}: this is not {what}: it is not JSON ({place} cannot be read)."
        ) from error
    except UnicodeDecodeError:
        raise ValueError(f"{path.name}: this is not {what}: it is not JSON, nor text.") from None
    except RecursionError:
        raise ValueError(f"{path.name}: this is not {what}: it is nested too deep.") from None
    except ValueError as error:
        raise ValueError(f"{path.name}: this is not {what}: {error}.") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path.name}: this is not {what}: a JSON object with named values is expected."
        )
    return content


def write_json(path: str | Path, content: object) -> None:
    """Write plain data, dataclasses and arrays as JSON, whole or not at all; see `plain`."""
    text = json.dumps(plain(content), indent=1, allow_nan=False)
    with written_whole(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def plain(value: object) -> object:
    """A value as JSON can hold it, which has no NaN and no infinity: those become null."""
    if is_dataclass(value):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if hasattr(value, "tolist"):  # an array, or one number of it
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"'{twice[0]}' is there twice; keep one")
    return found
