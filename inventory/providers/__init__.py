"""One file a provider; opened by `inventory.registry` alone."""
