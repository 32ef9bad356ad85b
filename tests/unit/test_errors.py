"""The exception tree: codes, hints, and that errors survive pickling."""

import inspect
import pickle

import pytest

from dataflow import errors
from dataflow.errors import DataFlowError, WorkflowExecutionError, did_you_mean

ALL = [item for _, item in inspect.getmembers(errors, inspect.isclass) if issubclass(item, DataFlowError)]


def test_every_error_has_a_code_of_its_own_and_is_drawn_in_the_docstring() -> None:
    codes = [item.code for item in ALL]
    assert len(set(codes)) == len(codes)
    for item in ALL:
        assert f"{item.__name__} " in str(errors.__doc__)
        assert item.code in str(errors.__doc__)


def test_an_error_reads_as_code_message_hint() -> None:
    error = errors.UnknownFieldError("User has no field 'nme'.", hint="Did you mean 'name'?", field="nme")
    assert str(error) == "[DF-106] User has no field 'nme'. Did you mean 'name'?"
    assert error.context == {"field": "nme"}
    assert isinstance(error, ValueError)


def test_errors_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(errors.UniqueViolationError("taken", hint="h", field="email")))
    assert (error.message, error.hint, error.context) == ("taken", "h", {"field": "email"})
    failure = WorkflowExecutionError(
        "m", node_id="n", node_type="T", error_code="DF-511", run_id="r", results={"a": {"id": 1}}
    )
    copy = pickle.loads(pickle.dumps(failure))
    assert (copy.node_id, copy.node_type, copy.error_code, copy.run_id) == ("n", "T", "DF-511", "r")
    assert copy.results == {"a": {"id": 1}}


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("nmae", ["name", "email"], "Did you mean 'name'?"),
        ("usercreatenode", ["UserCreateNode"], "Did you mean 'UserCreateNode'?"),
        ("zzz", ["name", "email"], "Known: email, name."),
        ("zzz", [], "None exist."),
        ("zzz", [f"field_{n:02}" for n in range(20)], "field_11, …."),
    ],
)
def test_did_you_mean(name: str, known: list[str], hint: str) -> None:
    assert hint in did_you_mean(name, known)
