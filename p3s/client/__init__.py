"""The one HTTP client, used by the command line, the pilot and Python users.

>>> from p3s.client import Client
>>> client = Client("http://127.0.0.1:8440", "the token")  # nothing is sent yet
>>> client.url
'http://127.0.0.1:8440'
"""

from p3s.client.calls import Client
from p3s.client.transport import Answer, PoolTransport, SessionTransport, Transport, Whole, choose_transport

__all__ = ["Answer", "Client", "PoolTransport", "SessionTransport", "Transport", "Whole", "choose_transport"]
