"""The app: a table of products, and the schedule that brings it up to date from the CSV files of a folder.

``dataflow worker examples.scheduled_import.app:db --queues imports --with-scheduler`` serves it.

==================  ========================================================================
environment         meaning
==================  ========================================================================
IMPORT_EVERY        seconds between looks at the folder; default 60
IMPORT_FOLDER       where the files appear; default ``inbox`` in the working directory
IMPORT_SETTLE       seconds that a file must have been left alone; default 5
IMPORT_BATCH        records per transaction; default 2000
==================  ========================================================================
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dataflow import DataFlow, current_job
from examples.scheduled_import.importer import Target, import_folder
from examples.scheduled_import.models import COLUMNS, BadRow, FoundFile, ImportedFile, Product

db = DataFlow(name="scheduled_import")


for _model in (Product, FoundFile, ImportedFile, BadRow):
    db.model(_model)

TARGET = Target(
    db,
    "Product",
    ["sku"],
    COLUMNS,
    batch=int(os.environ.get("IMPORT_BATCH", "2000")),
)


# A tick that comes while the job before still works is left out. By the ordering key, calls by hand take turns with it.
@db.schedule(every=float(os.environ.get("IMPORT_EVERY", "60")), overlap="skip")
@db.actor(queue="imports", timeout=3_600, ordering_key="scheduled-import")
async def import_files() -> dict[str, Any]:
    """Import what is new in the folder; it goes on where an earlier call was interrupted."""
    job = current_job()
    folder = Path(os.environ.get("IMPORT_FOLDER", "inbox"))
    settle = float(os.environ.get("IMPORT_SETTLE", "5"))
    return await import_folder(TARGET, folder, settle=settle, tell=job.progress if job else lambda *_: None)
