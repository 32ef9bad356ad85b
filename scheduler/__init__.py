"""The scheduler process: enqueues jobs because it is time. One service per file, each with the same start and stop."""
