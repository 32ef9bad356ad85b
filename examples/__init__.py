"""Programs that use DataFlow; each one runs, and a test runs it."""
