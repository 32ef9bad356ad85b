"""Change events: every committed change of a row as one event in a Redis Stream, and who reads them."""
