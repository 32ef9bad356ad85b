"""What a signature covers, without a broker."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from dataflow.errors import ConfigurationError, SignatureError
from dataflow.jobs import EnqueueRequest
from dataflow.jobs.packing import unpack
from dataflow.jobs.signatures import CHANGING, FIELD, SHOWN, SIGNED, SPENT, SigningKeys
from dataflow.jobs.wire import payload_of
from worker.admission import FIELDS

OLD, NEW = "an old secret of some length", "a new secret of some length"
KEYS = SigningKeys({"old": OLD})
CALL = b"the payload"


def job(**changed: bytes | None) -> dict[str, bytes]:
    """Fields of a hash, as a worker sees them."""
    fields = {"timeout": b"300", "retries_left": b"2", "retry_intervals": b"[0]", **changed}
    return {name: value for name, value in fields.items() if value is not None}


def signed(keys: SigningKeys = KEYS, **options: Any) -> bytes:
    written = {name: value.decode() for name, value in job().items()}
    return keys.sign("a", "default", CALL, written, **options).encode()


def verify(signature: bytes, keys: SigningKeys = KEYS, **changed: bytes | None) -> None:
    keys.verify(signature, "a", "default", CALL, job(**changed))


def test_what_was_signed_is_accepted_as_its_retries_are_used_up() -> None:
    signature = signed()
    for left in (b"2", b"1", b"0", None):
        verify(signature, retries_left=left)


@pytest.mark.parametrize("name", SIGNED)
def test_each_field_that_steers_a_run_is_covered(name: str) -> None:
    signature = signed()
    with pytest.raises(SignatureError, match="does not match"):
        verify(signature, **{name: b"9"})
    if name in job():
        with pytest.raises(SignatureError, match="does not match"):
            verify(signature, **{name: None})


def test_id_queue_and_payload_are_covered() -> None:
    signature = signed()
    for job_id, queue, call in (("b", "default", CALL), ("a", "high", CALL), ("a", "default", CALL + b"!")):
        with pytest.raises(SignatureError, match="does not match"):
            KEYS.verify(signature, job_id, queue, call, job())


def test_parts_cannot_be_shifted_into_each_other() -> None:
    keys = SigningKeys({"k": NEW})
    signature = keys.sign("ab", "c", b"d", {"timeout": "1", "result_ttl": "23"}).encode()
    keys.verify(signature, "ab", "c", b"d", {"timeout": b"1", "result_ttl": b"23"})
    for job_id, queue, call, fields in (
        ("a", "bc", b"d", {"timeout": b"1", "result_ttl": b"23"}),
        ("ab", "c", b"d", {"timeout": b"12", "result_ttl": b"3"}),
        ("ab", "c", b"d", {"result_ttl": b"1", "failure_ttl": b"23"}),
    ):
        with pytest.raises(SignatureError, match="does not match"):
            keys.verify(signature, job_id, queue, call, fields)


@pytest.mark.parametrize("part", range(6))
def test_every_part_of_the_signature_itself_is_covered(part: int) -> None:
    parts = signed().decode().split(".")
    parts[part] = parts[part][:-1] + ("1" if parts[part][-1] == "0" else "0")
    with pytest.raises(SignatureError):
        verify(".".join(parts).encode())


@pytest.mark.parametrize(
    "text", [b"", b".", b".....", b"\xff\xfe", b"1.old.1.1.1", b"1.old.x.y.z.00", SPENT, b"9" * 9_999]
)
def test_nonsense_is_refused(text: bytes) -> None:
    with pytest.raises(SignatureError):
        verify(text)


def test_more_retries_than_were_signed_are_refused() -> None:
    with pytest.raises(SignatureError, match="given 2 retries"):
        verify(signed(), retries_left=b"3")


def test_it_ends_some_time_after_the_job_is_due() -> None:
    keys = SigningKeys({"old": OLD}, max_age=10)
    verify(signed(keys), keys)
    verify(signed(keys, due=time.time() + 3_600), keys)
    with pytest.raises(SignatureError, match="expired"):
        verify(signed(keys, due=time.time() - 12), keys)


def test_a_key_is_replaced_step_by_step() -> None:
    """Workers learn the new key, producers sign with it, the old one goes."""
    both = SigningKeys({"old": OLD, "new": NEW})
    turned = SigningKeys({"old": OLD, "new": NEW}, "new")
    new = SigningKeys({"new": NEW})
    verify(signed(KEYS), both)
    assert signed(both).split(b".")[1] == b"old"
    verify(signed(turned), both)
    verify(signed(turned), new)
    with pytest.raises(SignatureError, match="'old', which this worker does not have"):
        verify(signed(KEYS), new)
    with pytest.raises(SignatureError, match="does not match"):
        verify(signed(KEYS), SigningKeys({"old": NEW}))


@pytest.mark.parametrize(
    ("keys", "options", "problem"),
    [
        ({}, {}, "no signing keys"),
        ({"a.b": NEW}, {}, "letters, digits"),
        ({"a": "hunter2"}, {}, "fewer than 16"),
        ({"a": NEW}, {"signing_key_id": "b"}, "signing_keys has a"),
    ],
)
def test_keys_that_cannot_be_used(keys: dict[str, str], options: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        SigningKeys(keys, **options)
    assert "hunter2" not in str(caught.value)
    assert NEW not in str(caught.value)


def test_keys_of_several_instances_are_joined_unless_they_contradict_each_other() -> None:
    joined = SigningKeys.joined([KEYS, SigningKeys({"new": NEW})])
    assert joined is not None
    verify(signed(KEYS), joined)
    verify(signed(SigningKeys({"new": NEW})), joined)
    assert SigningKeys.joined([]) is None
    with pytest.raises(ConfigurationError, match="different secrets"):
        SigningKeys.joined([KEYS, SigningKeys({"old": NEW})])


def test_every_field_of_a_job_is_signed_bounded_or_only_shown() -> None:
    """A new option must be given its place in signatures.py."""
    request = EnqueueRequest(
        workflow="hello", timeout=9, retry={"max": 2, "interval": [3, 4]}, depends_on="p", at=None, at_front=True,
        allow_dependency_failures=True, result_ttl=5, failure_ttl=6, meta={"k": "v"}, tenant_id="t",
    )  # fmt: skip
    _, arguments = request.arguments("default", payload_of("hello", {}, "t"), "d", 300, "now", signing_keys=KEYS)
    start = 11 + int(arguments[9])
    written = {str(name): value for name, value in zip(arguments[start::2], arguments[start + 1 :: 2], strict=True)}
    assert written.keys() - {"data", FIELD} <= {*SIGNED, *CHANGING, *SHOWN}
    assert {*SIGNED, *CHANGING, FIELD, "created_at", "enqueued_at", "x_schedule"} == set(FIELDS), (
        "what a worker obeys, and what it counts"
    )
    assert FIELDS[0] == "x_ordering_key", "where claim.lua reads it"
    assert FIELDS[-1] == FIELD

    seen = {name: value if isinstance(value, bytes) else str(value).encode() for name, value in written.items()}
    signature, call = seen[FIELD], unpack(seen["data"])
    KEYS.verify(signature, str(arguments[0]), "default", call, seen)
    for name in SIGNED:
        if name in seen:
            with pytest.raises(SignatureError, match="does not match"):
                KEYS.verify(signature, str(arguments[0]), "default", call, {**seen, name: seen[name] + b"0"})


def test_a_delayed_job_has_its_time_from_when_it_is_due() -> None:
    due = datetime(2100, 1, 1, tzinfo=UTC)
    for options, at in (({"at": due}, due.timestamp()), ({"delay": 1e6}, time.time() + 1e6), ({}, time.time())):
        request = EnqueueRequest(workflow="hello", **options)  # type: ignore[arg-type]
        _, arguments = request.arguments("default", payload_of("hello", {}), "d", 300, "now", signing_keys=KEYS)
        ends = int(str(arguments[-1]).split(".")[2])
        assert ends == pytest.approx(at + 7 * 86_400, abs=5)
