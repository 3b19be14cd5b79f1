"""A probe is walked leg by leg: the first failure is what is told, and what cleans up is walked all the same."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from provisioning.adapters.shop import ShopTimeoutError
from provisioning.engines.probe import Leg, NotSellingError, walk


def say(text: str) -> Callable[[], str]:
    return lambda: text


def fail(error: Exception) -> Callable[[], str]:
    def leg() -> str:
        raise error

    return leg


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NotSellingError("no product"), "PROBE_FAILED"),
        (NotSellingError("no cash on delivery", reason="PAYMENT_UNAVAILABLE"), "PAYMENT_UNAVAILABLE"),
        (ShopTimeoutError("/cart took longer than 10 s"), "STOREFRONT_UNREACHABLE"),
        (KeyError("order_id"), "PROBE_FAILED"),
    ],
)
def test_after_a_leg_that_fails_only_the_clean_up_is_walked(error: Exception, reason: str) -> None:
    report = walk(
        [
            Leg("catalogue", "Find a product", say("1 product")),
            Leg("checkout", "Place the order", fail(error)),
            Leg("admin", "See it as administrator", say("never")),
            Leg("remove", "Remove the order", say("removed"), always=True),
        ]
    )

    assert [(leg.name, leg.is_good) for leg in report.legs] == [
        ("catalogue", True),
        ("checkout", False),
        ("remove", True),
    ]
    assert not report.is_good
    assert report.failure is not None
    assert report.failure.reason == reason
    assert report.summary.startswith("Place the order: ")


def test_an_order_that_cannot_be_removed_is_no_good_probe() -> None:
    report = walk([Leg("checkout", "Place the order", say("placed")), Leg("remove", "Remove", fail(KeyError("left")))])

    assert not report.is_good


def test_a_probe_that_takes_too_long_is_given_up_but_cleans_up() -> None:
    moments = iter(range(0, 1000, 40))

    report = walk(
        [
            Leg("catalogue", "Find a product", say("1 product")),
            Leg("checkout", "Place the order", say("placed")),
            Leg("remove", "Remove the order", say("removed"), always=True),
        ],
        patience=timedelta(seconds=60),
        clock=lambda: float(next(moments)),
    )

    assert [(leg.name, leg.reason) for leg in report.legs] == [
        ("catalogue", ""),
        ("checkout", "PROBE_FAILED"),
        ("remove", ""),
    ]
    assert report.legs[1].detail == "not begun after 60 s"


def test_what_is_stored_of_a_probe_names_each_leg_with_its_time() -> None:
    moments = iter([0.0, 0.0, 1.0, 3.5])

    report = walk([Leg("cart", "Fill a cart", say("1 item"))], clock=lambda: next(moments))

    assert report.as_json() == [
        {"name": "cart", "title": "Fill a cart", "ok": True, "seconds": 2.5, "detail": "1 item", "reason": ""}
    ]
