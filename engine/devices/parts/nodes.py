"""What devices with a table share: the place of the weight between two nodes of a grid over the
cell's bounds."""

# `left`, `right` are the indices of the neighbouring nodes, `share` the weight of the right one;
# NODES is the name of the parameter whose length counts. A cell without range stays at the first
# node.
_PLACE = """
float intervals = p.NODES_n - 1.0f;
float range = c.max_bound - c.min_bound;
float place = range > 0.0f ? max_((w - c.min_bound) / range * intervals, 0.0f) : 0.0f;
float node = max_(min_(floor_(place), intervals - 1.0f), 0.0f);
float share = min_(place - node, 1.0f);
int left = (int)node;
int right = intervals > 0.0f ? left + 1 : left;
"""


def place_on(nodes: str) -> str:
    """The snippet that finds `left`, `right` and `share` on the grid of the list parameter
    `nodes`."""
    return _PLACE.replace("NODES", nodes)
