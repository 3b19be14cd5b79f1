"""Plans: the sizes that an engine gets, and what becomes of plans that were there before."""

from __future__ import annotations

import pytest

from stores.models import Plan
from stores.plans import DEFAULT_PLANS, ensure_default_plans, sizes_for


def test_an_engine_gets_its_own_sizes_and_the_general_ones_for_the_rest() -> None:
    spec = {"components": {"web": "general", "setup": "general"}, "engines": {"medusa": {"web": "own"}}}

    assert sizes_for(spec, "medusa") == {"web": "own", "setup": "general"}
    assert sizes_for(spec, "woocommerce") == {"web": "general", "setup": "general"}


@pytest.mark.django_db
def test_an_older_plan_learns_of_new_engines_and_keeps_what_operators_made_of_it() -> None:
    ensure_default_plans()
    changed = {"components": {"web": "ours"}, "quota": {"pods": "3"}}
    Plan.objects.filter(slug="small").update(spec=changed, title="Ours")

    ensure_default_plans()

    small = Plan.objects.get(slug="small")
    assert small.title == "Ours"
    assert small.spec == {**changed, "engines": DEFAULT_PLANS[0]["spec"]["engines"]}
