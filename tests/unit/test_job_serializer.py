"""Values in RQ's fields: whole for us, fit to be shown for tools that read with pickle."""

import json
import pickle
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow.errors import PayloadError
from dataflow.jobs.serializer import ENTRY, RQSerializer, read, write_call, write_meta, write_results

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(PLAIN)
def test_we_read_what_we_wrote_and_pickle_reads_the_front(value: Any) -> None:
    call, meta, results = write_call(value), write_meta({"k": value}), write_results(value, 10**6)
    assert read(call) == value
    assert read(meta) == {"k": value}
    assert read(results) == value
    assert pickle.loads(call) == (ENTRY, None, (), {})
    assert pickle.loads(meta) == {}
    assert isinstance(pickle.loads(results), str)


def test_results_are_shown_as_json() -> None:
    value = {"n": {"price": Decimal("1.50"), "at": datetime(2026, 1, 1, tzinfo=UTC)}}
    shown = json.loads(pickle.loads(write_results(value, 1000)))
    assert shown == {"n": {"price": "1.50", "at": "2026-01-01T00:00:00Z"}}
    assert read(write_results(value, 1000)) == value


@pytest.mark.parametrize("data", [b"", b"X", b"X\xff\xff\xff\xff", b"X\x01\x00\x00\x00ab", b"\x80\x04N.", b"{}", b"}"])
def test_what_is_not_ours_is_refused(data: bytes) -> None:
    with pytest.raises(PayloadError, match="not DataFlow's"):
        read(data)


def test_rq_uses_it_for_calls_meta_and_values() -> None:
    assert pickle.loads(RQSerializer.dumps((ENTRY, None, (), {}))) == (ENTRY, None, (), {})
    assert pickle.loads(RQSerializer.dumps({"a": 1})) == {}
    assert RQSerializer.loads(RQSerializer.dumps({"a": 1})) == {"a": 1}
    assert RQSerializer.loads(RQSerializer.dumps(None)) is None
