"""The roster: one file a source, and the gate that every feed passes."""
