"""Built-in nodes: branching, merging, and a snippet or function of the user's."""

from collections.abc import Mapping
from types import MappingProxyType

from dataflow.nodes.builtin.merge import MergeNode
from dataflow.nodes.builtin.python_code import PythonCodeNode
from dataflow.nodes.builtin.switch import SwitchNode
from dataflow.nodes.interface import Node

#: Node type → node. A worker leaves PythonCodeNode out unless its operator allows code in payloads.
BUILTIN: Mapping[str, Node] = MappingProxyType(
    {node.spec.type: node for node in (SwitchNode(), PythonCodeNode(), MergeNode())}
)

__all__ = ["BUILTIN", "MergeNode", "PythonCodeNode", "SwitchNode"]
