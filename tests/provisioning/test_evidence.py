"""What is kept of the cluster's words: enough to understand, and no secret."""

import pytest

from provisioning.evidence import Evidence, lines_of, redact


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("mysql://shop:hunter2@db/shop is down", "mysql://shop:[hidden]@db/shop is down"),
        ("MYSQL_ROOT_PASSWORD=hunter2 given", "MYSQL_ROOT_PASSWORD=[hidden] given"),
        ('{"admin_password": "hunter 2", "user": "admin"}', '{"admin_password": [hidden], "user": "admin"}'),
        ("define( 'AUTH_KEY': 'hunter2' )", "define( 'AUTH_KEY': [hidden] )"),
        ("Authorization: Bearer hunter2", "Authorization: [hidden]"),
        ("sent bearer abcdefgh-ijkl", "sent bearer [hidden]"),
        ("CREATE USER shop IDENTIFIED BY 'hunter2'", "CREATE USER shop IDENTIFIED BY [hidden]"),
        ("tried Zk3v9QwL2mX8rT5yB1nC7dF4", "tried [hidden]"),
        (
            "Access denied for user 'wordpress'@'10.0.0.7' (using password: YES)",
            "Access denied for user 'wordpress'@'10.0.0.7' (using password: YES)",
        ),
        (
            "image shop@sha256:3b9f0c1d2e3f4a5b6c7d8e9f3b9f0c1d2e3f4a5b6c7d8e9f3b9f0c1d2e3f4a5b not found",
            "image shop@sha256:3b9f0c1d2e3f4a5b6c7d8e9f3b9f0c1d2e3f4a5b6c7d8e9f3b9f0c1d2e3f4a5b not found",
        ),
        (
            "pod store-web-7d9c5b6f4-x2x9k of store-0b1c2d3e-aaaa",
            "pod store-web-7d9c5b6f4-x2x9k of store-0b1c2d3e-aaaa",
        ),
    ],
)
def test_a_secret_is_hidden_and_the_rest_stays_readable(said: str, kept: str) -> None:
    assert redact(said) == kept


def test_what_is_written_down_is_capped_and_without_secrets() -> None:
    log = [f"line {number}" for number in range(50)] + ["password=hunter2"]

    row = Evidence("Pod web/web", "x" * 5000, tuple(log)).as_row()

    assert len(row["message"]) == 2000
    assert (len(row["log"]), row["log"][0], row["log"][-1]) == (20, "line 31", "password=[hidden]")


def test_empty_lines_of_a_log_are_no_evidence() -> None:
    assert lines_of("one\n\n  two  \n\n") == ("one", "two")
