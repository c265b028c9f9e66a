import json
import shutil

import pytest

from quant_pipeline.errors import BundleError
from quant_pipeline.models.folder import seal, unseal


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "deep" / "b.bin").write_bytes(bytes(range(200)))
    seal(tmp_path, "facts.json", {"name": "x"})
    return tmp_path


def test_a_whole_folder_gives_its_facts(folder):
    facts = unseal(folder, "facts.json")
    assert facts["name"] == "x"
    assert sorted(facts["files"]) == ["a.txt", "deep/b.bin"]


@pytest.mark.parametrize("place", range(0, 200, 13))
def test_any_flipped_byte_is_found_and_named(folder, place):
    raw = bytearray((folder / "deep" / "b.bin").read_bytes())
    raw[place] ^= 0x10
    (folder / "deep" / "b.bin").write_bytes(raw)
    with pytest.raises(BundleError, match=r"b\.bin: found changed bytes"):
        unseal(folder, "facts.json")


def test_missing_and_extra_files_are_named(folder):
    (folder / "deep" / "c.txt").write_text("new")
    with pytest.raises(BundleError, match=r"c\.txt: found an extra file"):
        unseal(folder, "facts.json")
    (folder / "deep" / "c.txt").unlink()
    (folder / "a.txt").unlink()
    with pytest.raises(BundleError, match=r"a\.txt: found no such file"):
        unseal(folder, "facts.json")


@pytest.mark.parametrize("text", ["", "[1]", '{"files": 3}', "{", "\x00"])
def test_facts_that_are_not_facts(folder, text):
    (folder / "facts.json").write_text(text)
    with pytest.raises(BundleError, match=r"facts\.json"):
        unseal(folder, "facts.json")


def test_edited_facts_are_found(folder):
    facts = json.loads((folder / "facts.json").read_text())
    (folder / "facts.json").write_text(json.dumps({**facts, "name": "y"}))
    with pytest.raises(BundleError, match=r"facts\.json: found changed bytes"):
        unseal(folder, "facts.json")


def test_facts_that_say_the_same_in_other_bytes_are_found(folder):
    text = (folder / "facts.json").read_text()
    (folder / "facts.json").write_text(text + " ")
    with pytest.raises(BundleError, match=r"facts\.json: found changed bytes"):
        unseal(folder, "facts.json")


def nested(depth):
    return '{"files": {}, "x": ' + "[" * depth + "]" * depth + "}"


@pytest.mark.parametrize("text", ["[" * 100_000, nested(600), nested(900), '{"files": {}, "x": NaN}'])
def test_facts_nested_without_end_are_found(folder, text):
    (folder / "facts.json").write_text(text)
    with pytest.raises(BundleError, match=r"facts\.json"):
        unseal(folder, "facts.json")


@pytest.mark.parametrize("wrong", ["dead link", "folder", "folder is a file"])
def test_facts_that_are_something_else_are_damage(folder, wrong):
    (folder / "facts.json").unlink()
    if wrong == "dead link":
        (folder / "facts.json").symlink_to("/no/where")
    elif wrong == "folder":
        (folder / "facts.json").mkdir()
    else:
        shutil.rmtree(folder)
        folder.write_text("x")
    with pytest.raises(BundleError, match="damaged"):
        unseal(folder, "facts.json")
