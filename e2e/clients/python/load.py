#!/usr/bin/env python3
"""Constant load through the unmodified CMQ Python SDK, with a ledger of every message.

    load.py http://orders-cmq.shop.svc:9324 orders [--rate 50] [--hold]

Sends numbered messages, receives and deletes them, and writes what happened as a line of JSON once a second. When its input
ends it stops sending, drains the queue, and writes a last line with `"final": true`. Exits with 0 when nothing was lost, came
back after its delete, was damaged or made up.

A send is one entry of the ledger: acknowledged, refused by the broker, or unknown when the connection failed. Unknown ones
may arrive or not. Every call that fails is counted and followed by the next one 50 ms later, as clients do. A gap is the time
between two calls of a kind that succeeded, over all connections.
"""

import argparse
import atexit
import base64
import json
import os
import socket
import sys
import tempfile
import threading
import time
import zlib

from cmq.account import Account
from cmq.cmq_exception import CMQServerException
from cmq.queue import Message

NO_MESSAGE = 7000
PAUSE_AFTER_FAILURE_S = 0.05
# What a client waits for a connection or an answer. The SDK's own limit does not cover connecting.
CALL_TIMEOUT_S = 5
POLL_S = 1
# Different texts of errors that are kept.
ERRORS_MAX = 20


def main():
    flags = read_flags()
    if flags.trust_base64:
        trust(flags.trust_base64)
    socket.setdefaulttimeout(CALL_TIMEOUT_S)
    ledger, phase = Ledger(flags), Phase()
    senders = [Worker(send, flags, ledger, phase, at) for at in range(flags.senders)]
    receivers = [Worker(receive, flags, ledger, phase, at) for at in range(flags.receivers)]
    threading.Thread(target=end_with_input, args=(flags, phase), daemon=True).start()

    while not phase.stopping.wait(1):
        say(ledger.report())
    for sender in senders:
        sender.join()
    ledger.sends.pause()
    phase.draining.set()
    until = time.monotonic() + flags.drain
    while ledger.outstanding() and time.monotonic() < until:
        time.sleep(0.2)
    phase.over.set()
    for receiver in receivers:
        receiver.join()
    report = ledger.report() | ledger.verdict() | {"final": True}
    say(report)
    sys.exit(0 if report["clean"] else 1)


def read_flags():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("endpoint", help="http://HOST:PORT of the client port, or https")
    parser.add_argument("queue")
    parser.add_argument("--rate", type=float, default=50, help="sends a second over all senders (50)")
    parser.add_argument("--bytes", type=int, default=200, help="size of a message (200)")
    parser.add_argument("--senders", type=int, default=4)
    parser.add_argument("--receivers", type=int, default=4)
    parser.add_argument("--hold", action="store_true", help="receive nothing before the drain")
    parser.add_argument("--lease", type=float, default=0, help="seconds for which the queue hides what was received; 0: not checked")
    parser.add_argument("--drain", type=float, default=90, help="seconds for the drain (90)")
    parser.add_argument("--seconds", type=float, default=1800, help="the end, if the input does not end before (1800)")
    parser.add_argument("--trust-base64", default="", help="certificates to trust, PEM in base64")
    parser.add_argument("--secret-id", default="AKIDload")
    parser.add_argument("--secret-key", default="none")
    return parser.parse_args()


def trust(pem_base64):
    """The SDK makes its connections with the trust of OpenSSL, which this names for the whole process."""
    with tempfile.NamedTemporaryFile(delete=False, suffix=".pem") as file:
        file.write(base64.b64decode(pem_base64))
    os.environ["SSL_CERT_FILE"] = file.name
    atexit.register(os.unlink, file.name)


def say(report):
    print(json.dumps(report), flush=True)


def end_with_input(flags, phase):
    timer = threading.Timer(flags.seconds, phase.stopping.set)
    timer.daemon = True
    timer.start()
    while sys.stdin.buffer.read(4096):
        pass
    phase.stopping.set()


class Phase:
    """Sending, then (`stopping`) only receiving, then (`draining`, when no send is on its way) until all is there, then `over`."""

    def __init__(self):
        self.stopping, self.draining, self.over = threading.Event(), threading.Event(), threading.Event()


class Worker(threading.Thread):
    """One connection, used by one thread."""

    def __init__(self, work, flags, ledger, phase, at):
        super().__init__(daemon=True)
        self.work, self.flags, self.ledger, self.phase, self.at = work, flags, ledger, phase, at
        self.start()

    def run(self):
        account = Account(self.flags.endpoint, self.flags.secret_id, self.flags.secret_key)
        account.close_log()
        try:
            self.work(self, account.get_queue(self.flags.queue))
        except Exception as error:  # a bug of this program must not look like a quiet client
            print(f"load.py: {error!r}", file=sys.stderr, flush=True)
            os._exit(2)


def send(worker, queue):
    flags, ledger = worker.flags, worker.ledger
    pause = flags.senders / flags.rate
    due = time.monotonic() + pause * worker.at / flags.senders
    while not worker.phase.stopping.wait(max(0, due - time.monotonic())):
        # After a gap the rate goes on, without making up for what was not sent.
        due = max(due + pause, time.monotonic())
        number = ledger.begin()
        try:
            queue.send_message(Message(ledger.body(number)))
        except CMQServerException as error:
            ledger.send_refused(number, error)
            time.sleep(PAUSE_AFTER_FAILURE_S)
        except Exception as error:
            ledger.send_unknown(number, error)
            time.sleep(PAUSE_AFTER_FAILURE_S)
        else:
            ledger.send_acknowledged(number)


def receive(worker, queue):
    ledger, phase = worker.ledger, worker.phase
    while worker.flags.hold and not phase.draining.wait(0.2):
        if phase.over.is_set():
            return
    while not phase.over.is_set():
        try:
            message = queue.receive_message(POLL_S)
        except CMQServerException as error:
            if error.code == NO_MESSAGE:
                ledger.receives.success()
                continue
            ledger.failed("receive", error)
            time.sleep(PAUSE_AFTER_FAILURE_S)
            continue
        except Exception as error:
            ledger.failed("receive", error)
            time.sleep(PAUSE_AFTER_FAILURE_S)
            continue
        ledger.received(message)
        try:
            queue.delete_message(message.receiptHandle)
        except Exception as error:
            # Gone or not: if not, it comes again.
            ledger.failed("delete", error)
            time.sleep(PAUSE_AFTER_FAILURE_S)
        else:
            ledger.deleted(message)


class Gap:
    """The longest time between two successes, in seconds."""

    def __init__(self):
        self.lock, self.last, self.longest = threading.Lock(), None, 0.0

    def success(self):
        with self.lock:
            now = time.monotonic()
            if self.last is not None:
                self.longest = max(self.longest, now - self.last)
            self.last = now

    def pause(self):
        """Counts what is open as a gap, and begins anew."""
        with self.lock:
            self.longest, self.last = self._so_far(), None

    def so_far(self):
        with self.lock:
            return self._so_far()

    def _so_far(self):
        return self.longest if self.last is None else max(self.longest, time.monotonic() - self.last)


class Ledger:
    """Every send of this run and what became of it."""

    def __init__(self, flags):
        self.flags = flags
        self.run = os.urandom(4).hex()
        self.lock = threading.Lock()
        self.sends, self.receives = Gap(), Gap()
        self.next = 0
        self.acknowledged, self.refused, self.unknown = set(), set(), set()
        # Numbers that were received, and whose delete was acknowledged.
        self.seen, self.gone = set(), set()
        # The same by message id, with the time of the last receive: the SDK sends again by itself when a connection that it
        # kept turns out to be closed, so one number may be two messages.
        self.leased, self.ended = {}, set()
        self.failures, self.errors = {"send": 0, "receive": 0, "delete": 0}, {}
        self.again = self.early = self.returned = self.damaged = self.invented = self.foreign = 0

    def body(self, number):
        start = f"{self.run} {number} "
        filler = f"{zlib.crc32(start.encode()):08x}"
        room = max(len(filler), self.flags.bytes - len(start))
        return start + (filler * (room // len(filler) + 1))[:room]

    def begin(self):
        with self.lock:
            self.next += 1
            return self.next

    def send_acknowledged(self, number):
        self.sends.success()
        with self.lock:
            self.acknowledged.add(number)

    def send_refused(self, number, error):
        self.failed("send", error)
        with self.lock:
            self.refused.add(number)

    def send_unknown(self, number, error):
        self.failed("send", error)
        with self.lock:
            self.unknown.add(number)

    def received(self, message):
        self.receives.success()
        now = time.monotonic()
        with self.lock:
            number = self.number(message)
            if number is None:
                self.foreign += 1
                return
            self.damaged += message.msgBody != self.body(number)
            self.invented += number > self.next or number in self.refused
            if message.msgId in self.ended:
                self.returned += 1
            elif message.msgId in self.leased:
                # A quarter of a second for the way of the answer.
                self.early += now - self.leased[message.msgId] < self.flags.lease - 0.25
            self.again += number in self.seen
            self.leased[message.msgId] = now
            self.seen.add(number)

    def deleted(self, message):
        with self.lock:
            self.leased.pop(message.msgId, None)
            self.ended.add(message.msgId)
            self.gone.add(self.number(message))

    def number(self, message):
        """Which message of this run it is; nothing if it is of another."""
        run, _, rest = message.msgBody.partition(" ")
        digits = rest.partition(" ")[0]
        return int(digits) if run == self.run and digits.isdigit() else None

    def failed(self, call, error):
        text = f"{call}: {type(error).__name__}: {error}"[:300]
        with self.lock:
            self.failures[call] += 1
            if text in self.errors or len(self.errors) < ERRORS_MAX:
                self.errors[text] = self.errors.get(text, 0) + 1

    def outstanding(self):
        with self.lock:
            return len(self.acknowledged - self.gone)

    def report(self):
        send_gap, receive_gap = self.sends.so_far(), self.receives.so_far()
        with self.lock:
            return {
                "sent": len(self.acknowledged),
                "received": len(self.seen),
                "deleted": len(self.gone),
                "refused": len(self.refused),
                "failed": dict(self.failures),
                "sendGapSeconds": round(send_gap, 3),
                "receiveGapSeconds": round(receive_gap, 3),
            }

    def verdict(self):
        with self.lock:
            lost = sorted(self.acknowledged - self.seen)
            doubles = {"again": self.again, "early": self.early, "afterDelete": self.returned}
            bad = {"damaged": self.damaged, "invented": self.invented}
            return {
                "clean": not lost and not self.early and not self.returned and not any(bad.values()),
                "lost": len(lost),
                "firstLost": lost[:20],
                "doubles": doubles,
                **bad,
                "foreign": self.foreign,
                "unknownArrived": len(self.unknown & self.seen),
                "unknown": len(self.unknown),
                "errors": self.errors,
            }


if __name__ == "__main__":
    main()
