"""Print ``docs/reasons.md`` from :mod:`stores.reasons`: ``scripts/reasons_page.py > docs/reasons.md``."""

from __future__ import annotations

from stores.reasons import REASONS


def page() -> str:
    """Return the page, one section for each reason."""
    head = (
        "# Reasons\n\n"
        "Why a store or a job is as it is. Each store carries one of these codes in `reason`, with the sentence in\n"
        "`message`, the hint in `hint` and what the platform does meanwhile in `by_itself`. The job's `evidence` is\n"
        "what the cluster said: the object, its message, the last lines of its log, with secrets hidden. The job's\n"
        "`next_action` says what happens by itself, when at the latest, and when the job gives up; `cause` names the\n"
        "reason behind `DEADLINE_EXCEEDED`. This page is written from `stores/reasons.py`.\n"
    )
    sections = (
        f"\n## {reason.code}\n\n{reason.sentence}\n\n"
        f"- **By itself:** {reason.by_itself}\n- **What to do:** {reason.hint}\n"
        for reason in REASONS.values()
    )
    return head + "".join(sections)


if __name__ == "__main__":
    print(page(), end="")
