"""Jobs beside other job runners, each in a virtualenv of its own."""
