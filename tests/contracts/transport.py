"""What every transport does, over real sockets. Subclass `TransportContract` and give it `build`."""

from __future__ import annotations

from tests.contracts.transport_connections import ConnectionCases
from tests.contracts.transport_exchanges import ExchangeCases
from tests.contracts.transport_failures import FailureCases
from tests.contracts.transport_places import PlaceCases
from tests.contracts.transport_tls import TlsCases


class TransportContract(ExchangeCases, ConnectionCases, FailureCases, PlaceCases, TlsCases):
    """Held by every implementation of `ports.transport.Transport`."""
