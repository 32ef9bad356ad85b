"""Nodes: what a step of a workflow can be. Generated per model, built in, or written by users."""

from dataflow.nodes.builtin import BUILTIN, MergeNode, PythonCodeNode, SwitchNode
from dataflow.nodes.custom import BaseDataFlowNode, CustomNode
from dataflow.nodes.interface import Node, NodeSpec, Output, Parameter
from dataflow.nodes.registry import Catalog, process_catalog

process_catalog.provide(BUILTIN)

__all__ = [
    "BUILTIN",
    "BaseDataFlowNode",
    "Catalog",
    "CustomNode",
    "MergeNode",
    "Node",
    "NodeSpec",
    "Output",
    "Parameter",
    "PythonCodeNode",
    "SwitchNode",
    "process_catalog",
]
