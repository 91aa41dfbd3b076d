"""One file an outside thing, one port each; opened by the wiring alone."""
