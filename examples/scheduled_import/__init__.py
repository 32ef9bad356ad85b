"""Files that appear in a folder, imported once each: `app.py` is the app, docs/imports.md explains it."""
