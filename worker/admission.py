"""Admission: what a claimed job must prove before it is run."""

from __future__ import annotations

import msgspec

from dataflow.errors import ConfigurationError, PayloadError, SignatureError
from dataflow.jobs.packing import DEFAULT_LIMITS, PayloadLimits, unpack
from dataflow.jobs.signatures import CHANGING, FIELD, SIGNED, SigningKeys
from dataflow.jobs.wire import Payload, decode_payload
from worker.deliveries import Delivery

#: Options that RQ's producers can set and that this version does not carry out.
UNSUPPORTED = {
    "success_callback_name": "callbacks",
    "failure_callback_name": "callbacks",
    "stopped_callback_name": "callbacks",
    "webhooks": "webhooks",
    "rate_limit_key": "rate limits",
}
#: Fields of a job that a claim reads after its data. It looks at the first itself: the ordering key. The times are not
#: obeyed: one is counted, the other names the run in ledgers where a job has no token; nor is the schedule, which code
#: that runs may ask for.
FIELDS = (*SIGNED, *CHANGING, "created_at", "enqueued_at", "x_schedule", FIELD)

#: Fields that hold whole numbers.
_NUMBERS = ("timeout", "result_ttl", "failure_ttl", "retries_left", "repeats_left", "x_deliveries", "x_outages")
#: Fields that hold several.
_INTERVALS = ("retry_intervals", "repeat_intervals")
_CHECKED = frozenset({*_NUMBERS, *_INTERVALS})
#: The largest of them: 30,000 years, in seconds; Redis accepts it as a time to live.
_LARGEST = 10**12


class Admission:
    """Lets in jobs that are whole, within limits and, where it is asked for, signed.

    Args:
        keys: What signatures are verified with.
        require_signature: Whether a job without a signature is refused; default: where there are keys. A signature that
            is there is verified wherever there are keys.
        limits: Bytes that a payload may have.

    Raises:
        ConfigurationError: Signatures are required, and there are no keys.
    """

    def __init__(
        self,
        keys: SigningKeys | None = None,
        *,
        require_signature: bool | None = None,
        limits: PayloadLimits = DEFAULT_LIMITS,
    ) -> None:
        self.requires_signature = keys is not None if require_signature is None else require_signature
        if self.requires_signature and keys is None:
            raise ConfigurationError(
                "Signatures are required, and there are no keys to verify them with.",
                hint="Set signing_keys (DATAFLOW_SIGNING_KEYS), the same for producers and workers.",
            )
        self._keys = keys
        self._limits = limits

    def read(self, delivery: Delivery) -> Payload:
        """The payload of a job that may be run. Its data is let go: it may be large, and is not needed again.

        Raises:
            SignatureError: It is not signed, or not what was signed.
            PayloadError: It is damaged or too large, has a version or asks for what is unknown here.
        """
        data, delivery.data = delivery.data, b""
        signature = delivery.options.get(FIELD)
        _check_numbers(delivery.options)
        if signature is None and self.requires_signature:
            raise SignatureError(
                "The job is not signed, and this worker runs signed jobs only.",
                hint="Give its producer the signing_keys, or start the worker with --no-require-signature.",
            )
        call = unpack(data, self._limits)
        if signature is not None and self._keys is not None:
            self._keys.verify(signature, delivery.job_id, delivery.queue, call, delivery.options)
        for name in delivery.options.keys() & UNSUPPORTED.keys():
            raise PayloadError(f"The job asks for {UNSUPPORTED[name]} ({name}), which this version does not have.")
        return decode_payload(call)


def _check_numbers(options: dict[str, bytes]) -> None:
    """Take out fields that hold no usable number, so that recording the failure does not trip over them.

    Raises:
        PayloadError: There are such fields.
    """
    if options.keys().isdisjoint(_CHECKED):
        return  # as with most jobs
    wrong = [name for name in _NUMBERS if name in options and not _is_number(options[name])]
    wrong += [name for name in _INTERVALS if name in options and not _are_intervals(options[name])]
    values = [f"{name}={options.pop(name)[:50]!r}" for name in wrong]
    if values:
        raise PayloadError(f"Fields of the job hold no usable number: {', '.join(values)}.")


def _is_number(text: bytes) -> bool:
    try:
        return len(text) < 20 and -1 <= int(text) <= _LARGEST
    except ValueError:
        return False


def _are_intervals(text: bytes) -> bool:
    try:
        intervals = msgspec.json.decode(text, type=list[int])
    except msgspec.DecodeError:
        return False
    return all(0 <= seconds <= _LARGEST for seconds in intervals)
