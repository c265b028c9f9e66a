from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_pipeline.errors import DataError
from quant_pipeline.views.feature_matrix import MOMENT, FeatureMatrix, from_frame, schema_hash

START = datetime(2024, 3, 1, tzinfo=UTC)


def frame(**columns: list[float | None]) -> pl.DataFrame:
    rows = len(next(iter(columns.values())))
    at = pl.Series("decision_at", [START + timedelta(hours=hour) for hour in range(rows)], dtype=MOMENT)
    typed = {name: pl.Series(name, values, dtype=pl.Float64) for name, values in columns.items()}
    return pl.DataFrame({"timestamp": at.dt.offset_by("-1h"), "decision_at": at, **typed})


def test_keys_are_not_features_and_null_is_nan():
    matrix = from_frame(frame(rsi=[1.0, None], atr=[2.0, 3.0]))
    assert matrix.columns == ("rsi", "atr")
    assert matrix.values.dtype == np.float32
    np.testing.assert_array_equal(matrix.values, np.array([[1, 2], [np.nan, 3]], dtype=np.float32))


def test_columns_choose_and_order():
    assert from_frame(frame(a=[1.0], b=[2.0], c=[3.0]), ("c", "a")).values.tolist() == [[3.0, 1.0]]


def test_a_frame_without_rows_or_without_features():
    assert from_frame(frame(a=[])).values.shape == (0, 1)
    assert from_frame(frame(a=[1.0]), ()).values.shape == (1, 0)


@given(st.lists(st.integers(0, 9), max_size=20))
def test_take_is_rows_of_the_frame(rows: list[int]):
    whole = frame(a=[float(i) for i in range(10)], b=[float(-i) if i % 3 else None for i in range(10)])
    taken = from_frame(whole).take(np.array(rows, dtype=np.int64))
    assert taken.decision_at.to_list() == [whole["decision_at"][row] for row in rows]
    np.testing.assert_array_equal(taken.values[:, 0], np.array(rows, dtype=np.float32))
    np.testing.assert_array_equal(np.isnan(taken.values[:, 1]), [row % 3 == 0 for row in rows])


def test_select_reorders_drops_and_names_the_absent():
    matrix = from_frame(frame(a=[1.0], b=[2.0], c=[3.0]))
    assert matrix.select(("c", "b")).values.tolist() == [[3.0, 2.0]]
    assert matrix.select(("c", "b")).values.flags.c_contiguous
    with pytest.raises(DataError, match="no d, e"):
        matrix.select(("a", "d", "e"))


def test_schema_hash_knows_names_and_order():
    assert schema_hash(("a", "b")) == from_frame(frame(a=[1.0], b=[2.0])).schema_hash
    assert len({schema_hash(("a", "b")), schema_hash(("b", "a")), schema_hash(("ab",)), schema_hash(("a",))}) == 4


def test_values_are_read_only_but_the_callers_array_is_not():
    mine = np.zeros((1, 1), dtype=np.float32)
    matrix = FeatureMatrix(frame(a=[0.0])["decision_at"], ("a",), mine)
    with pytest.raises(ValueError, match="read-only"):
        matrix.values[0, 0] = 1
    mine[0, 0] = 1


@pytest.mark.parametrize("value", [float("inf"), 1e300])
def test_what_float32_cannot_hold_is_refused_by_name_and_time(value: float):
    with pytest.raises(DataError, match="feature a at 2024-03-01 01:00"):
        from_frame(frame(a=[0.0, value]))


def test_wrong_shapes_types_and_names_are_refused():
    good = frame(a=[1.0])
    with pytest.raises(DataError, match="no column b"):
        from_frame(good, ("b",))
    with pytest.raises(DataError, match="feature a"):
        from_frame(good.with_columns(pl.col("a").cast(pl.String)))
    with pytest.raises(DataError, match="decision_at"):
        from_frame(good.with_columns(pl.col("decision_at").dt.replace_time_zone(None)))
    with pytest.raises(DataError, match="a name twice"):
        FeatureMatrix(good["decision_at"], ("a", "a"), np.zeros((1, 2), dtype=np.float32))
    with pytest.raises(DataError, match="float64"):
        FeatureMatrix(good["decision_at"], ("a",), np.zeros((1, 1)))
