"""The page of `moewright report`: what a team gathers around, in one file that asks nothing of a network.

What is given becomes sources (`page_sources.py`), each of a kind. `PAGE_SECTIONS` names for every kind the functions
that make blocks of its sources, `JOINT_SECTIONS` those that make one of sources of several kinds; `page_assembly.py`
puts the blocks into the order of the argument and writes one file.

A new section is a file in `sections/` with a function that takes all sources of one kind and gives `PageBlock`s, and
its name in `PAGE_SECTIONS`. A block has its chapter, its HTML and the same as Markdown, values for scripts (`data`,
each read with `moewright.data(name)`), and the names of the style sheets and scripts in `assets/` that it needs beside
the page's own. Scripts find what `assets/page.js` offers in `moewright`; `assets/plots.js` draws every
`figure[data-plot]`.
"""

from collections.abc import Collection, Mapping, Sequence

from moewright.report.page.page_sources import SourceKind

PAGE_SECTIONS: Mapping[SourceKind, Sequence[str]] = {
    "design": ("design_section.design_blocks",),
    "model": (),
    "law": ("law_section.law_blocks",),
    "table": ("run_section.table_blocks",),
    "runs": ("run_section.folder_blocks",),
    "plan": ("plan_section.plan_blocks",),
    "next": ("next_section.next_blocks",),
    "sweep": ("next_section.sweep_blocks",),
}
"""By kind of source: functions of modules in `sections/`, in the order of their blocks; loaded when they are needed."""
JOINT_SECTIONS: Mapping[str, Collection[SourceKind]] = {"model_section.model_blocks": ("design", "model", "plan")}
"""Functions that make one block of all sources of these kinds."""
HTML_SECTIONS: Mapping[SourceKind, Sequence[str]] = {"design": ("what_if_section.what_if_blocks",)}
"""The same for blocks that are of no use where no script runs."""
