"""What came of a run, as one HTML page for people and as JUnit XML for CI: from data to text."""
