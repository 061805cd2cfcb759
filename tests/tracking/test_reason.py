from __future__ import annotations

from fl_platform.core.text import reason


def test_credentials_in_addresses_are_not_told() -> None:
    text = reason(ConnectionError("call to https://user:canary@host:5000/api failed\nmore"))
    assert text == "call to https://host:5000/api failed"
    assert "canary" not in reason(OSError("postgresql://canary@host/db and http://a:canary@b"))


def test_an_address_without_credentials_stays() -> None:
    assert reason(ValueError("see https://host/a@b")) == "see https://host/a@b"


def test_a_silent_error_is_told_by_its_name() -> None:
    assert reason(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert len(reason(ValueError("x" * 1000))) == 300
