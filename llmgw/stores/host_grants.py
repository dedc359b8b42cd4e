"""What the requests under way in one worker have leased, written where others find it.

A part of the counter file (`stores.host_file`). A grant is taken while its number of leases is
not 0; that number is written after the leases, and cleared in one store.
"""

from __future__ import annotations

from collections.abc import Sequence
from mmap import mmap
from struct import Struct as Packing

MAX_LEASES = 16

_COUNT = Packing("q")
_LEASE = Packing("IIq")
_AMOUNT = 8
_ID = 48
_GRANT = _ID + _LEASE.size * MAX_LEASES
_LEASES = [Packing(f"{_ID}s" + "IIq" * leases) for leases in range(MAX_LEASES + 1)]

Lease = tuple[int, int, int]
"""The index of a slot, its check, and what is held; 0 when it was given back."""


def table_size(grants: int) -> int:
    """Bytes of a table of so many grants."""
    return (_COUNT.size + _GRANT) * grants


class Grants:
    """A table of `size` grants at `at`: first the numbers of leases, then the grants."""

    def __init__(self, view: mmap, at: int, size: int) -> None:
        self._map = view
        self._counts = at
        self._grants = at + _COUNT.size * size
        self._size = size

    def taken(self) -> list[int]:
        """Which grants are taken."""
        return [entry for entry, count in enumerate(self._all_counts()) if count]

    def free(self) -> list[int]:
        """Which are not, the first one last."""
        counts = self._all_counts()
        return [entry for entry in range(self._size - 1, -1, -1) if not counts[entry]]

    def write(self, entry: int, request_id: str, leases: Sequence[int]) -> None:
        """Take a grant. leases: index, check and amount of each, one after the other."""
        count = len(leases) // 3
        _LEASES[count].pack_into(self._map, self._grants + _GRANT * entry, request_id.encode(), *leases)
        _COUNT.pack_into(self._map, self._counts + 8 * entry, count)

    def read(self, entry: int) -> tuple[str, list[Lease]]:
        """The request's id, and its leases."""
        at = self._grants + _GRANT * entry
        (count,) = _COUNT.unpack_from(self._map, self._counts + 8 * entry)
        leases = self._map[at + _ID : at + _ID + _LEASE.size * count]
        return self._map[at : at + _ID].rstrip(b"\0").decode(), list(_LEASE.iter_unpack(leases))

    def end(self, entry: int, ended: Sequence[int]) -> bool:
        """Give back the leases of some slots, each leased once. Whether the grant is free now."""
        (count,) = _COUNT.unpack_from(self._map, self._counts + 8 * entry)
        if count > len(ended):
            left = False
            at = self._grants + _GRANT * entry + _ID
            for index, _, amount in self.read(entry)[1]:
                if index in ended:
                    _COUNT.pack_into(self._map, at + _AMOUNT, 0)
                elif amount:
                    left = True
                at += _LEASE.size
            if left:
                return False
        _COUNT.pack_into(self._map, self._counts + 8 * entry, 0)
        return True

    def _all_counts(self) -> memoryview:
        return memoryview(self._map[self._counts : self._grants]).cast("q")
