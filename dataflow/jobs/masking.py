"""Masking: URLs without their passwords, for messages and logs."""

from __future__ import annotations

import re

# Up to the last @: a password with an unescaped @, / or # in it must not show its tail.
_PASSWORD = re.compile(r"(://[^/:@]*):.*@", re.DOTALL)
_PARAMETER = re.compile(r"([?&](?:password|ssl_password)=)[^&]*")


def mask_url(url: str) -> str:
    """A URL with its password replaced by ``***``."""
    return _PARAMETER.sub(r"\1***", _PASSWORD.sub(r"\1:***@", url))
