"""The worker process: claims jobs and runs them. One service per file, each with the same start and stop."""
