"""What a worker resolves names with."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.environments.name_resolution import nameservers, static_hosts


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("nameserver 192.0.2.1\nnameserver 192.0.2.2\n", ("192.0.2.1", "192.0.2.2")),
        (
            "# nameserver 192.0.2.9\nsearch example\nnameserver 2001:db8::1\nnameserver 192.0.2.3 # office\n",
            ("192.0.2.3",),
        ),
        ("", ("127.0.0.1",)),
    ],
)
def test_ipv4_name_servers_are_read_and_there_is_always_one(
    tmp_path: Path, content: str, found: tuple[str, ...]
) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text(content)
    assert nameservers(file) == found


def test_a_machine_without_the_file_gets_a_server_that_fails_fast(tmp_path: Path) -> None:
    assert nameservers(tmp_path / "missing") == ("127.0.0.1",)


def test_the_hosts_file_gives_ipv4_addresses_by_name_and_the_first_line_counts(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("127.0.0.1 localhost Sbc.Example\n::1 localhost ip6\n192.0.2.7 sbc.example trunk # the SBC\n")
    assert static_hosts(file) == {"localhost": "127.0.0.1", "sbc.example": "127.0.0.1", "trunk": "192.0.2.7"}
    assert static_hosts(tmp_path / "missing") == {}
