"""What stores may be called."""

import pytest
from django.core.exceptions import ValidationError

from stores.naming import clean_display_name, clean_domain, clean_name


@pytest.mark.parametrize(("raw", "clean"), [("shop", "shop"), ("  Shop-1 ", "shop-1"), ("a" * 40, "a" * 40)])
def test_a_name_is_trimmed_and_lowered(raw: str, clean: str) -> None:
    assert clean_name(raw) == clean


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("ab", "length"),
        ("a" * 41, "length"),
        ("1shop", "start"),
        ("-shop", "start"),
        ("\u0430dmin", "start"),
        ("shop-", "characters"),
        ("sh_op", "characters"),
        ("shop\n--set", "characters"),
        ("shöp", "characters"),
        ("kube-system", "reserved"),
        ("Admin", "reserved"),
    ],
)
def test_a_name_that_kubernetes_or_people_would_misread_is_refused(raw: str, code: str) -> None:
    with pytest.raises(ValidationError) as refused:
        clean_name(raw)

    assert refused.value.code == code


def test_a_display_name_keeps_its_letters_and_folds_its_spaces() -> None:
    assert clean_display_name('  Cafe\u0301   "Zum $ {{ Eck }}"  ') == 'Café "Zum $ {{ Eck }}"'


@pytest.mark.parametrize(
    ("raw", "code"),
    [("", "length"), ("x" * 81, "length"), ("a\nb", "control"), ("a\x00b", "control"), ("a\u202eb", "direction")],
)
def test_a_display_name_that_would_fool_its_readers_is_refused(raw: str, code: str) -> None:
    with pytest.raises(ValidationError) as refused:
        clean_display_name(raw)

    assert refused.value.code == code


@pytest.mark.parametrize(
    ("raw", "clean"), [("", ""), ("Shop.Example.COM.", "shop.example.com"), ("bücher.example", "xn--bcher-kva.example")]
)
def test_a_domain_becomes_its_ascii_form(raw: str, clean: str) -> None:
    assert clean_domain(raw) == clean


@pytest.mark.parametrize(
    "raw", ["localhost", "10.0.0.1", "https://shop.example.com", "shop.example.com:80", "a..b", "-a.b"]
)
def test_what_is_no_host_name_is_refused_as_domain(raw: str) -> None:
    with pytest.raises(ValidationError):
        clean_domain(raw)
