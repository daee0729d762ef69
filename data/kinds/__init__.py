"""The eight kinds of generated tasks, one module each.

Every module has the same four names: `LABELS` (the label set, or None for free answers), `example` (one
prompt with its answer), `document` (one piece of free text from the same words, without the task's question)
and `drill` (a prompt of the same look that asks something else). `document` and `drill` are what the embedded
base model reads; `example` is what it never sees.
"""

from . import arithmetic, law, medicine, science, simplification, stance, summary, tone

KINDS = {
    "stance": stance,
    "tone": tone,
    "summary": summary,
    "science": science,
    "arithmetic": arithmetic,
    "simplification": simplification,
    "medicine": medicine,
    "law": law,
}
