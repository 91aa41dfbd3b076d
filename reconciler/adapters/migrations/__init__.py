"""Schema versions of the journal, applied when it is opened."""
