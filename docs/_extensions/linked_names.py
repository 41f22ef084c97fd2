"""Inline code that names something public becomes a link to its page: `Linear`, `nn.load`,
`net.fit(X, Y)`, `np.random.seed`. Each name is linked once per section."""

import re

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

NAME = re.compile(r"(\w+(?:\.\w+)*)(?:\(.*\))?", re.DOTALL)
ALIASES = {"nn": "nncore", "np": "numpy", "net": "nncore.Sequential", "sp": "scipy.sparse"}
# Words that name other things as well, and pages on which Sequential's methods are not meant.
NOT_LINKED = {"c", "check", "checking", "examples", "squared", "hinge", "nll", "dropout"}
NOT_LINKED |= {"forward", "backward", "step", "sgd_step", "sgd", "loss", "scale"}
OTHER_METHODS = ("scikit-learn", "coming-from", "reference/nncore.sklearn")


def full_names(objects):
    """Return {how a name may be written: its full name}."""
    names = {}
    for full in objects:
        prefix, _, last = full.rpartition(".")
        if prefix.startswith("nncore.kernels.numpy_kernels"):
            names[last] = names[f"kernels.{last}"] = full
        elif prefix == "nncore.Sequential" or objects[full].objtype in ("class", "function"):
            names.setdefault(last, full)
        names[full.removeprefix("nncore.")] = names[full] = full
    return {name: full for name, full in names.items() if name not in NOT_LINKED}


class LinkNames(SphinxPostTransform):
    default_priority = 20

    def run(self, **kwargs):
        if self.app.builder.format != "html" or self.env.docname == "changes":
            return
        objects = self.env.domains["py"].objects
        names, seen = full_names(objects), set()
        for node in list(self.document.findall(nodes.literal)):
            found = NAME.fullmatch(node.astext())
            if not found or has_parent(node, (nodes.reference, nodes.title)):
                continue
            if self.env.docname == "coming-from" and has_parent(node, (nodes.table,)):
                continue  # most names there are those of other libraries
            written = found[1]
            first, dot, rest = written.partition(".")
            full = names.get(written) or names.get(ALIASES.get(first, first) + dot + rest)
            if full and "." not in written and self.is_method(full):
                if self.env.docname.startswith(OTHER_METHODS):
                    continue
            section = next((id(s) for s in parents(node) if isinstance(s, nodes.section)), None)
            if (section, full or written) in seen:
                continue
            link = self.local(objects, full, node) if full else self.remote(written)
            if link is not None:
                seen.add((section, full or written))
                node.replace_self(link)
                link += node

    @staticmethod
    def is_method(full):
        return full.startswith("nncore.Sequential.")

    def local(self, objects, full, node):
        entry = objects[full]
        here = self.env.docname
        if entry.docname == here and any(
            entry.node_id in ids_of(parent) for parent in parents(node)
        ):
            return None  # a docstring does not link to itself
        link = make_refnode(
            self.app.builder, here, entry.docname, entry.node_id, nodes.Text(""), full
        )
        link.clear()
        return link

    def remote(self, written):
        first, dot, rest = written.partition(".")
        full = {"np": "numpy", "sp": "scipy.sparse"}.get(first, first) + dot + rest
        if not dot:
            return None
        for kind, items in self.env.intersphinx_inventory.items():
            if kind.startswith("py:") and full in items:
                return nodes.reference("", "", internal=False, refuri=items[full].uri)
        return None


def parents(node):
    while node.parent is not None:
        node = node.parent
        yield node


def ids_of(node):
    """Return the ids of a node, or of the signature under which it is described."""
    first = node.children[0] if isinstance(node, addnodes.desc) else node
    return first.get("ids", ())


def has_parent(node, kinds):
    return any(isinstance(parent, kinds) for parent in parents(node))


def setup(app):
    app.add_post_transform(LinkNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
