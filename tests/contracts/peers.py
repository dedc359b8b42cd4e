"""What every implementation of `ports.peers.Peers` does; a fixture `peers` makes one."""

from __future__ import annotations

from llmgw.ports.peers import Peers


class PeersContract:
    def test_connections_are_counted_up_to_the_limit(self, peers: Peers) -> None:
        assert [peers.come("a", 2) for _ in range(4)] == [True, True, False, False]
        assert peers.come("b", 2)
        peers.go("a")
        assert peers.come("a", 2)
        assert not peers.come("a", 2)

    def test_a_client_that_left_begins_anew(self, peers: Peers) -> None:
        for _ in range(100):
            assert peers.come("a", 1)
            peers.go("a")
        assert not peers.come("a", 0)

    def test_many_clients(self, peers: Peers) -> None:
        names = [f"10.0.{number // 256}.{number % 256}" for number in range(20_000)]
        assert all(peers.come(name, 1) for name in names)
        assert not any(peers.come(name, 1) for name in names)
        for name in names:
            peers.go(name)
        assert all(peers.come(name, 1) for name in names)
