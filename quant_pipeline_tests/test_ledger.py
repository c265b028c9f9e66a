from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from quant_pipeline.ledger import Ledger

DROPS = st.lists(st.tuples(st.sampled_from(["duplicate", "bad_price", "late"]), st.integers(0, 50)), max_size=8)


@given(rows=st.integers(400, 1_000), drops=DROPS)
def test_rows_out_and_the_drops_add_up_to_rows_in(rows, drops):
    ledger = Ledger(rows_in=rows)
    for reason, count in drops:
        ledger.drop(reason, count)
    assert ledger.rows_out + sum(count for _, count in drops) == rows
    assert set(ledger.dropped) == {reason for reason, count in drops if count}


def test_a_reason_given_twice_adds_up():
    ledger = Ledger(rows_in=10)
    ledger.drop("duplicate", 2)
    ledger.drop("duplicate", 3)
    assert ledger.dropped == {"duplicate": 5}


def test_two_ledgers_share_nothing():
    one, other = Ledger(), Ledger()
    one.drop("duplicate", 1)
    one.notes["gaps"] = 2
    assert (other.dropped, other.notes) == ({}, {})


def test_the_dictionary_is_json_and_whole():
    ledger = Ledger(rows_in=5, notes={"gaps": [1, 2]})
    ledger.drop("late", 2)
    told = json.loads(json.dumps(ledger.as_dict()))
    assert told == {"rows_in": 5, "dropped": {"late": 2}, "rows_out": 3, "notes": {"gaps": [1, 2]}}
