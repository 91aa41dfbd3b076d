"""Pure parsers of what providers send, where they do not fit into the provider's own file."""
