"""Where changes come from: one source per database, and the outbox for those that do not allow better."""
