"""Imported last by the process that all are forked from: what it has imported, they inherit and never throw away.

Looked for among what may be garbage it would be copied into each of them, and looked through once more at the end.
"""

import gc

gc.freeze()
