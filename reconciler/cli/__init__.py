"""The command line: one file a command. Only this package exits.

Exit codes: 0 nothing to do, or all done and verified; 1 error; 2 the plan has actions or is held; 64 wrong usage.
"""
