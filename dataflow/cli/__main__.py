"""``python -m dataflow.cli``: the ``dataflow`` command by the interpreter's own path."""

from dataflow.cli import main

main()
