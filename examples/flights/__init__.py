"""All flights that left New York City in 2013, imported by worker processes: run by ``make demo``."""
