from __future__ import annotations

import inspect

import pytest

from quant_pipeline import errors
from quant_pipeline.errors import QuantError

CLASSES = [found for _, found in inspect.getmembers(errors, inspect.isclass) if issubclass(found, QuantError)]


@pytest.mark.parametrize("kind", CLASSES)
def test_a_message_names_the_thing_what_was_found_what_was_wanted_and_the_mend(kind):
    error = kind("labels.max_bars", found=0, wanted="1 or more", mend="edit it")
    assert str(error) == "labels.max_bars: found 0, wanted 1 or more. To mend: edit it"
    assert (error.thing, error.found, error.wanted, error.mend) == ("labels.max_bars", 0, "1 or more", "edit it")
    assert isinstance(error, QuantError)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_says_what_it_is_for(kind):
    assert kind.__doc__
    assert kind.__doc__ != QuantError.__doc__ or kind is QuantError


def test_the_parts_are_named_so_that_none_is_forgotten():
    with pytest.raises(TypeError):
        QuantError("thing", "found", "wanted", "mend")
