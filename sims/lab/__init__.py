"""The namespace lab: a small internet on this machine, with real NATs."""
