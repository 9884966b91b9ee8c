"""A plugin for pytest: with PYSIG_EVERY=3, a third of the tests is run, always the same one.

For builds that differ from the one that all tests are run on in how they were compiled only.
"""

import os
import zlib

EVERY = int(os.environ.get("PYSIG_EVERY", "1"))


def pytest_collection_modifyitems(config, items):
    """Keep those tests whose names happen to be multiples."""
    kept, left_out = [], []
    for item in items:
        group = kept if zlib.crc32(item.nodeid.encode()) % EVERY == 0 else left_out
        group.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept
