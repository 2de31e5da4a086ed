"""The verbs of the command line, one file per group. Each reads its arguments, makes one call, and shows what came."""
