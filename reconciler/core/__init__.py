"""The pure core: values and decisions. No clock, no I/O, no logging, no randomness."""
