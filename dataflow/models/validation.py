"""Checks of a declared model, with the guides' codes: warnings by default, errors under ``strict=True``.

=======  =========================================================
VAL-002  no field named ``id``
VAL-003  another field looks like the primary key
VAL-004  a managed field, such as ``created_at``, declared by hand
VAL-006  field name is a Python keyword or built-in word
VAL-007  field name is not snake_case
VAL-008  two models require each other, so neither can be created
VAL-009  a relation points to a model that is not declared
VAL-010  ``on_delete="set null"`` on a field that cannot be None
=======  =========================================================

VAL-002 and VAL-009 are findings of strict mode only: an integer id is added where there is none, and a model may be
declared after the one that points to it.
"""

from __future__ import annotations

import keyword
import re
import warnings
from collections.abc import Mapping, Sequence

from dataflow.errors import ModelValidationError
from dataflow.models.naming import snake_case
from dataflow.models.spec import ModelSpec

#: Parameters that every generated node has, beside the model's fields.
RESERVED = frozenset({"database", "timeout", "retry", "input"})


class DataFlowValidationWarning(UserWarning):
    """A model works, but not the way its author may expect."""


def validate(
    spec: ModelSpec, *, known: Mapping[str, ModelSpec], strict: bool, has_own_key: bool, needless: Sequence[str]
) -> None:
    """Warn about what validation finds, or raise.

    Raises:
        ModelValidationError: ``strict`` and there are findings.
    """
    findings = _findings(spec, known, has_own_key, needless)
    if strict:
        findings += _strict_findings(spec, known, has_own_key)
        if findings:
            lines = [f"[{code}] {message}" for code, message in sorted(findings)]
            raise ModelValidationError(f"Model {spec.name}: " + "\n  ".join(["", *lines]).lstrip(), issues=findings)
    for code, message in findings:
        warnings.warn(f"[{code}] Model {spec.name}: {message}", DataFlowValidationWarning, stacklevel=5)


def _findings(
    spec: ModelSpec, known: Mapping[str, ModelSpec], has_own_key: bool, needless: Sequence[str]
) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if not has_own_key:
        lookalikes = {"pk", "uuid", "guid", f"{snake_case(spec.name)}_id"} & set(spec.names)
        found += [
            ("VAL-003", f"'{name}' looks like the primary key, which is always 'id'. Rename it to 'id'.")
            for name in sorted(lookalikes)
        ]
    found += [("VAL-004", f"'{name}' is managed for you. Remove it from the class.") for name in needless]
    for item in spec.fields:
        if keyword.iskeyword(item.name) or item.name in ("type", "class", "def"):
            found.append(("VAL-006", f"'{item.name}' is a reserved word. Rename the field."))
        if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", item.name):
            found.append(("VAL-007", f"'{item.name}' is not snake_case."))
        reference = item.references
        if reference is None:
            continue
        if reference.on_delete == "set null" and not item.nullable:
            found.append(("VAL-010", f"'{item.name}' has on_delete='set null' but cannot be None."))
        target = known.get(reference.model)
        if target and not item.nullable and _requires(target, spec.name):
            found.append(("VAL-008", f"{spec.name} and {target.name} require each other. Make one side optional."))
    return found


def _strict_findings(spec: ModelSpec, known: Mapping[str, ModelSpec], has_own_key: bool) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if not has_own_key:
        found.append(("VAL-002", "Primary key 'id' is required. Add 'id: str', 'id: int' or 'id: UUID'."))
    for item in spec.fields:
        if item.references and item.references.model != spec.name and item.references.model not in known:
            found.append(("VAL-009", f"'{item.name}' points to {item.references.model}, which is not declared."))
    return found


def _requires(spec: ModelSpec, other: str) -> bool:
    return any(item.references and item.references.model == other and not item.nullable for item in spec.fields)
