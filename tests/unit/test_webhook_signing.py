"""Signatures of webhooks, as receivers compute them."""

from __future__ import annotations

import pytest

from dataflow.errors import ConfigurationError
from dataflow.events.webhooks.signing import Secrets, signature

#: The test vector of Standard Webhooks' own libraries.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SIGNED = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
OTHER = "whsec_" + "QUJD" * 11


def test_the_vector_of_the_specification() -> None:
    secrets = Secrets({"*": SECRET}).of("hooks.example")
    assert signature(secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}') == SIGNED


def test_each_secret_signs_while_one_is_replaced() -> None:
    both = Secrets({"*": f"{OTHER} {SECRET}"}).of("hooks.example")
    first, second = signature(both, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}').split()
    assert first != second == SIGNED


def test_hosts_have_secrets_of_their_own() -> None:
    secrets = Secrets({"A.example": SECRET, "*": OTHER})
    assert secrets.of("a.example") != secrets.of("b.example")
    with pytest.raises(ConfigurationError, match=r"no secret to sign webhooks for b\.example"):
        Secrets({"a.example": SECRET}).of("b.example")


@pytest.mark.parametrize(
    "text", ["secret-in-plain", "whsec_", "whsec_c2hvcnQ=", "whsec_***", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", OTHER * 3]
)
def test_what_is_no_secret_is_not_shown(text: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Secrets({"*": text})
    assert text not in str(raised.value) or text == "whsec_"
