"""From a lock and rendered text to a disk: pool, tools, base tree, bake, difference, final tree."""
