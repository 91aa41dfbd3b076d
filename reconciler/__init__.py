"""What ought to be: decides, acts and proves."""
