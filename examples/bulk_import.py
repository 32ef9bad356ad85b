"""Import a CSV file, correct it with a second one, and sum it up.

The first import streams the file: no more than one batch of it is in memory. The second one meets rows that exist,
and updates them.

Run it: python examples/bulk_import.py
"""

import csv
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from dataflow import DataFlow, Field, LocalRuntime, WorkflowBuilder

db = DataFlow("sqlite:///products.db")


@db.model
class Product:
    sku: str = Field(unique=True)
    category: str
    price: Decimal = Field(precision=10, scale=2)


def rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            yield {**row, "price": Decimal(row["price"])}


def write(path: Path, products: Iterator[tuple[str, str, str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("sku", "category", "price"), *products])
    return path


january = write(
    Path("january.csv"), ((f"P{number:05}", ("tools", "toys")[number % 2], "9.50") for number in range(10_000))
)
february = write(Path("february.csv"), ((f"P{number:05}", "tools", "8.75") for number in range(9_000, 11_000)))

importing = WorkflowBuilder("import")
importing.add_node("ProductBulkCreateNode", "import", {"data": "{{products}}", "batch_size": 2_000})

correcting = WorkflowBuilder("correct")
correcting.add_node(
    "ProductBulkUpsertNode", "correct", {"data": "{{products}}", "conflict_on": ["sku"], "batch_size": 2_000}
)
correcting.add_node(
    "ProductAggregateNode",
    "sum",
    {
        "group_by": "category",
        "aggregate": {"products": {"$count": "*"}, "worth": {"$sum": "price"}},
        "sort": "category",
    },
)
correcting.add_connection("correct", "result", "sum", "input")

runtime = LocalRuntime()
created, _ = runtime.execute(importing.build(), inputs={"products": rows(january)})
corrected, _ = runtime.execute(correcting.build(), inputs={"products": list(rows(february))})

print(f"January: {created['import']['inserted']} products")
print(f"February: {corrected['correct']['inserted']} new, {corrected['correct']['updated']} changed")
for group in corrected["sum"]["records"]:
    print(f"{group['category']}: {group['products']} products worth {group['worth']}")
db.close()
