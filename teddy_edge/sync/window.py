"""How far one connection has sent the log, and what of that the cloud has not confirmed."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple


class Unconfirmed(NamedTuple):
    """A batch on its way: what it continues from, where it ends, and when it was sent."""

    after_seq: int
    last_seq: int
    chain: bytes
    """The chain value after its last record."""
    sent_at_s: float


class Window:
    """Where sending stands. It begins at what is confirmed, or earlier in a replay."""

    def __init__(self, sent_seq: int, history_seq: int, replay_until_seq: int = 0) -> None:
        """What goes up to `history_seq` is no news; up to `replay_until_seq` it was confirmed."""
        self.sent_seq = sent_seq
        self.read_seq = sent_seq
        """As `sent_seq`, and beyond it where the records behind it are lost."""
        self.history_seq = history_seq
        self.replay_until_seq = replay_until_seq
        self.unconfirmed: deque[Unconfirmed] = deque()

    def sent(self, last_seq: int, chain: bytes, at_s: float) -> None:
        """Take up that a batch went out."""
        self.unconfirmed.append(Unconfirmed(self.sent_seq, last_seq, chain, at_s))
        self.sent_seq = self.read_seq = last_seq

    def chain_at(self, seq: int) -> bytes:
        """Give the chain value where a batch on its way ends; empty where none ends there."""
        chains = (each.chain for each in self.unconfirmed if each.last_seq == seq)
        return next(chains, b"")

    def confirm(self, seq: int) -> None:
        """Take up how far the cloud is; a replay sends also what it has."""
        if self.sent_seq >= self.replay_until_seq:
            self.sent_seq = max(self.sent_seq, seq)
            self.read_seq = max(self.read_seq, seq)
        while self.unconfirmed and self.unconfirmed[0].last_seq <= seq:
            self.unconfirmed.popleft()

    def again(self, history_seq: int) -> Window:
        """Begin again at the oldest batch that is not confirmed."""
        return Window(self.unconfirmed[0].after_seq, history_seq, self.replay_until_seq)
