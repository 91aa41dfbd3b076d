"""The only code that can take access away: one file a provider; opened by the wiring alone."""
