from __future__ import annotations

import pydantic
import pytest

from quant_pipeline.config.model import Settings, read_yaml
from quant_pipeline.errors import ConfigError


class Inner(Settings):
    depth: int = 3


class Outer(Settings):
    name: str
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()
    named: dict[str, Inner] = pydantic.Field(default_factory=dict)


def refusal(value: dict) -> str:
    with pytest.raises(ConfigError) as caught:
        Outer.parse(value, "mine.yaml")
    return str(caught.value)


def test_what_is_right_is_parsed_and_frozen():
    made = Outer.parse({"name": "x", "inner": {"depth": 4}}, "mine.yaml")
    assert made.inner.depth == 4
    with pytest.raises(ValueError, match="frozen"):
        made.name = "y"


@pytest.mark.parametrize(
    ("value", "place", "nearest"),
    [
        ({"name": "x", "iner": {}}, "iner", "inner"),
        ({"name": "x", "inner": {"deth": 1}}, "inner.deth", "depth"),
        ({"name": "x", "many": [{}, {"dept": 1}]}, "many.1.dept", "depth"),
        ({"name": "x", "named": {"one": {"depht": 1}}}, "named.one.depht", "depth"),
    ],
)
def test_an_unknown_key_names_its_place_and_the_nearest_key(value, place, nearest):
    told = refusal(value)
    assert told.startswith(f"mine.yaml: {place}: found an unknown key")
    assert told.endswith(f"write {nearest!r} instead")


def test_a_key_like_no_other_gets_the_list_of_keys():
    assert refusal({"name": "x", "zzzzzz": 1}).endswith("remove it; the keys here are inner, many, name, named")


def test_a_missing_key_is_named():
    assert refusal({}) == "mine.yaml: name: found nothing, wanted a value. To mend: add the key 'name'"


def test_a_wrong_value_is_told_with_what_is_wanted():
    assert refusal({"name": "x", "inner": {"depth": "deep"}}).startswith(
        "mine.yaml: inner.depth: found 'deep', wanted a valid integer"
    )


def test_yaml_is_read(tmp_path):
    (tmp_path / "a.yaml").write_text("a: 1\nb: [x]")
    assert read_yaml(tmp_path / "a.yaml") == {"a": 1, "b": ["x"]}


@pytest.mark.parametrize(
    ("content", "found"),
    [(b"a: [1", "while parsing"), (b"- 1\n- 2", "list"), (b"", "NoneType"), (b"a: \xff\xfe", "decode"), (None, "No such file")],
)
def test_what_is_no_mapping_is_refused_in_one_line(tmp_path, content, found):
    path = tmp_path / "a.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=found) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
