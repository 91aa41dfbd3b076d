"""The sample company on real local servers: starts them, populates them, and runs three cycles.

Adds and starts things only. What takes access away is the same code as everywhere: `reconciler/revokers/`.
"""
