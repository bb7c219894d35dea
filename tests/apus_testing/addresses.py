"""Addresses and ports of the loopback device that only one test process has.

Rings name ports before servers listen on them, so that a port of the kernel's choice comes too late.
"""

import itertools
import socket

# Below the ports that Linux gives to outgoing connections (32768 on).
FIRST, BLOCKS, BLOCK_SIZE = 10_000, 56, 400
LOCK_ADDRESS, LOCK_PORT = "127.77.0.{block}", 7776


NETWORK_LOCK_PORT = 7777


class Network:
    """The addresses 127.77.`number`.1 to .249, held by a lock as long as the object is open."""

    def __init__(self):
        for self.number in range(1, 250):
            self._holder = socket.socket()
            try:
                self._holder.bind((self.address(250), NETWORK_LOCK_PORT))
                return
            except OSError:
                self._holder.close()
        raise AssertionError("no free network")

    def address(self, host):
        return f"127.77.{self.number}.{host}"

    def close(self):
        self._holder.close()


def _take_block():
    """A block that no other test process has, and the socket that holds it as long as this process runs."""
    for block in range(BLOCKS):
        holder = socket.socket()
        try:
            holder.bind((LOCK_ADDRESS.format(block=block + 1), LOCK_PORT))
            return block, holder
        except OSError:
            holder.close()
    raise AssertionError("no free block of ports")


_BLOCK, _HOLDER = _take_block()
_NEXT = itertools.cycle(range(FIRST + _BLOCK * BLOCK_SIZE, FIRST + (_BLOCK + 1) * BLOCK_SIZE))


def free_port():
    """A port that is not in use, and that neither the kernel nor another test process takes meanwhile."""
    for port in itertools.islice(_NEXT, BLOCK_SIZE):
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
                return port
            except OSError:
                continue
    raise AssertionError("no free port in this block")
