"""Ports for servers of tests."""

from __future__ import annotations

import itertools
import socket
from pathlib import Path

import pytest

from tests.support.redis_server import free_port

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_ports_are_not_named_twice_nor_given_to_connections_meanwhile() -> None:
    ports = [free_port() for _ in range(100)]
    assert len(set(ports)) == 100
    lowest = int(RANGE.read_text().split()[0]) if RANGE.exists() else 32_768
    assert max(ports) + 10_000 < lowest


def test_a_port_that_is_taken_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.redis_server._PORTS", itertools.count(7))
    taken = free_port()
    monkeypatch.setattr("tests.support.redis_server._PORTS", itertools.count(7))
    with socket.create_server(("127.0.0.1", taken)):
        assert free_port() != taken
