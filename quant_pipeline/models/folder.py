"""Sealed folders: one JSON of facts lists the SHA-256 of every other file, so that no change goes unseen."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NoReturn

from quant_pipeline.errors import BundleError, DataError
from quant_pipeline.files import read_json, sha256, stands, write_text

MEND = "copy the folder again from where it was made, or train it again"


def seal(folder: Path, name: str, facts: dict[str, Any]) -> None:
    """Write `facts` to `folder/name` with the hash of every file beside and below it, and of the facts themselves."""
    body = {**facts, "files": {path: sha256(folder / path) for path in _listed(folder, name)}}
    write_text(folder / name, _text({**body, "digest": _digest(body)}))


def unseal(folder: Path, name: str) -> dict[str, Any]:
    """Read the facts of a sealed folder after checking every byte of it.

    Raises:
        BundleError: not a sealed folder, or a file that is changed, missing or extra; the message names the file.
    """
    facts = _facts(folder, name)
    files, found = facts["files"], _listed(folder, name)
    for path in sorted(set(files) - set(found)):
        _refuse(folder / path, "no such file", "the file that was sealed")
    for path in sorted(set(found) - set(files)):
        _refuse(folder / path, "an extra file", f"only the files that {name} lists")
    for path in found:
        if sha256(folder / path) != files[path]:
            _refuse(folder / path, "changed bytes", f"SHA-256 {files[path][:12]}…")
    return facts


def _facts(folder: Path, name: str) -> dict[str, Any]:
    place = folder / name
    try:
        if not stands(place):
            _refuse(place, "no such file", "a folder that this package saved")
        facts = read_json(place, MEND)
    except DataError as error:
        _refuse(place, error.found, "the sealed facts")
    if not _is_whole(place, facts):
        _refuse(place, "changed bytes", "facts that match their digest")
    return {fact: value for fact, value in facts.items() if fact != "digest"}


def _is_whole(place: Path, facts: Any) -> bool:
    """Whether the digest speaks for the values, and the text for every byte."""
    if not isinstance(facts, dict) or not isinstance(facts.get("files"), dict):
        return False
    body = {fact: value for fact, value in facts.items() if fact != "digest"}
    try:
        return place.read_bytes().decode() == _text(facts) and facts.get("digest") == _digest(body)
    except (ValueError, RecursionError):  # JSON that we would not write: not a number, or nested without end
        return False


def _listed(folder: Path, name: str) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path != folder / name)


def _text(facts: dict[str, Any]) -> str:
    return json.dumps(facts, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _refuse(path: Path, found: object, wanted: str) -> NoReturn:
    raise BundleError(str(path), found=found, wanted=wanted, mend=MEND)
