"""What a scenario is made of and what comes of a run: plain data and its rules."""
