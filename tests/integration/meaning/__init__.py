"""One meaning on three databases: random models, rows and steps, run on each and compared with plain Python.

==================  =================================================================================
models, values      random models, and nasty values of every kind of field
questions, tasks    random steps that read, and that write; whole plays
coercion            the oracle: which values a field takes,
conditions          which rows a filter selects and in which order they come,
aggregation         what sums and means come to,
changes             what an update makes of a row,
table, imports      what creating, upserting and deleting make of a table;
oracle              a node's name and inputs to its result
arena               runs a step on the oracle and on the databases, and compares
test_meaning        the random plays
test_named_cases    what they found
==================  =================================================================================

Filters on paths into JSON are not in ``questions`` yet: ``models.filterable`` says where they belong.
"""
