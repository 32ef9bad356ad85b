"""What a model is: ``@db.model`` turns a class into an immutable ModelSpec, ``tables`` that into a SQLAlchemy Table.

This room knows SQLAlchemy's schema objects but no driver and no connection.
"""

from dataflow.models.declaration import declare
from dataflow.models.options import Field
from dataflow.models.spec import Features, FieldSpec, ForeignKey, IndexSpec, ModelSpec, RelationSpec
from dataflow.models.types import FieldType, Kind

__all__ = [
    "Features",
    "Field",
    "FieldSpec",
    "FieldType",
    "ForeignKey",
    "IndexSpec",
    "Kind",
    "ModelSpec",
    "RelationSpec",
    "declare",
]
