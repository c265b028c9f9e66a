"""YAML without its surprises: a key stands once, and only what looks like a number or a switch is one.

PyYAML reads 4:1 as 241, 010 as 8, `no` as false and 1e9 as text, and takes the last of two equal keys without a word.
Here scalars are those of YAML 1.2: numbers in base ten, true and false; all else is text, for the settings to judge.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

_TAG = "tag:yaml.org,2002:"
_OTHERWISE = {f"{_TAG}{kind}" for kind in ("int", "float", "bool")}


class _Loader(yaml.SafeLoader):
    """`yaml.SafeLoader` with other scalars, which refuses a key that stands twice."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own way
        first: [pair for pair in pairs if pair[0] not in _OTHERWISE]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        names = [name for name, _ in node.value if isinstance(name, yaml.ScalarNode) and name.tag != f"{_TAG}merge"]
        seen: set[str] = set()
        for name in names:
            if name.value in seen:
                message = f"the key {name.value!r} a second time, on line {name.start_mark.line + 1}"
                raise ValueError(message)
            seen.add(name.value)
        return super().construct_mapping(node, deep)


for kind, form, first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("float", r"[-+]?(\d[\d_]*\.[\d_]*|\.\d[\d_]*)([eE][-+]?\d+)?|[-+]?\d[\d_]*[eE][-+]?\d+|[-+]?\.(inf|Inf)|\.(nan|NaN)",
     "-+.0123456789"),
    ("int", r"[-+]?(0|[1-9][\d_]*)", "-+0123456789"),
):  # fmt: skip
    _Loader.add_implicit_resolver(f"{_TAG}{kind}", re.compile(rf"(?:{form})\Z", re.ASCII), list(first))


def read_mapping(text: str) -> dict[str, Any]:
    """The mapping that `text` is; raises `ValueError` saying what it is instead, or what cannot be read and where."""
    try:
        value = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        message = "brackets inside each other, too many to read"
        raise ValueError(message) from None
    if not isinstance(value, dict):
        message = f"{type(value).__name__}, no mapping of keys to values"
        raise ValueError(message)  # noqa: TRY004 - it is the text that is wrong
    return value
