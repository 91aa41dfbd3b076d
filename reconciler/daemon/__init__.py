"""The daemon: wakes up, looks again, and tells how it is. What a cycle is made of is handed in."""
