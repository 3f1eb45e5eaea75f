#!/usr/bin/env python3
"""Lets the wall clock of a broker jump by an hour, and looks at leases, delays and retention.

    e2e/machine/clock_jumps.py [--broker target/release/cmq-broker]

Needs libfaketime (Debian: `apt-get install faketime`); exits with 3 without it. CLOCK_REALTIME jumps, CLOCK_MONOTONIC does
not. Four brokers side by side, each with a jump of its own; takes about two minutes.
"""

import argparse
import glob
import os
import sys
import tempfile
import threading
import time
import traceback

from broker import Broker

HOUR_S = 3600
LEASE_S = 12
DELAY_S = 8
RETENTION_S = 60
# How far clocks and answers may be apart.
SLACK_S = 1.5
NOT_POSSIBLE = 3


class Clock:
    """The wall clock of one broker."""

    def __init__(self, library, path):
        self.path = path
        self.set(0)
        self.environment = {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": path,
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, offset_s):
        with open(self.path + ".new", "w") as file:
            file.write(f"{offset_s:+d}s\n")
        os.replace(self.path + ".new", self.path)


class Messages:
    """Four messages in four states: leased, delayed, ready, and one that is to grow old."""

    def __init__(self, client):
        for name in ("leased", "delayed", "old"):
            attributes = {"visibilityTimeout": LEASE_S, "msgRetentionSeconds": RETENTION_S if name == "old" else 86400}
            client.must("CreateQueue", queueName=name, **attributes)
        client.must("SendMessage", queueName="leased", msgBody="leased")
        client.must("SendMessage", queueName="old", msgBody="old")
        self.old_at = time.monotonic()
        client.must("SendMessage", queueName="delayed", msgBody="delayed", delaySeconds=DELAY_S)
        self.delayed_at = time.monotonic()
        received = client.must("ReceiveMessage", queueName="leased", pollingWaitSeconds=1)
        self.handle = received["receiptHandle"]
        self.leased_at = time.monotonic()


def expect_after(client, queue, since, seconds, what):
    """The message of the queue comes `seconds` after `since`: neither early nor late."""
    while True:
        answer = client.call("ReceiveMessage", queueName=queue, pollingWaitSeconds=0)
        passed = time.monotonic() - since
        if answer["code"] == 0:
            assert passed > seconds - SLACK_S, f"{what} after {passed:.1f} s, {seconds} s were asked for"
            return passed, answer
        assert answer["code"] == 7000, answer
        assert passed < seconds + SLACK_S + 2, f"{what}: not there after {passed:.1f} s"
        time.sleep(0.1)


def expect_gone(client, messages):
    """The old message is there until its retention ends, and gone then."""
    left = RETENTION_S - SLACK_S - (time.monotonic() - messages.old_at)
    time.sleep(max(left - 1, 0))
    counts = client.must("GetQueueAttributes", queueName="old")
    assert counts["activeMsgNum"] == 1, f"expired {left:.1f} s early: {counts}"
    time.sleep(max(RETENTION_S + SLACK_S + 1 - (time.monotonic() - messages.old_at), 0))
    assert client.call("ReceiveMessage", queueName="old", pollingWaitSeconds=0)["code"] == 7000, "not expired"


def running(start, clock, jump_s):
    """The clock jumps under a running broker: nothing changes."""
    broker = start()
    client = broker.client()
    messages = Messages(client)
    clock.set(jump_s)
    _, delayed = expect_after(client, "delayed", messages.delayed_at, DELAY_S, "the delay ended")
    passed, _ = expect_after(client, "leased", messages.leased_at, LEASE_S, "the lease ended")
    # A message of after the jump has the same clock.
    client.must("CreateQueue", queueName="later", visibilityTimeout=LEASE_S)
    client.must("SendMessage", queueName="later", msgBody="later", delaySeconds=DELAY_S)
    expect_after(client, "later", time.monotonic(), DELAY_S, "a later delay ended")
    expect_gone(client, messages)
    is_faked = any_jump(broker, jump_s)
    broker.kill()
    assert is_faked, "the clock of the broker did not jump"
    return f"the lease lasted {passed:.1f} of {LEASE_S} s; delay and retention to the second"


def over_restart_backward(start, clock, jump_s):
    """The clock jumps back while the broker is down: it is not believed, nothing lasts longer or shorter by it."""
    broker = start()
    messages = Messages(broker.client())
    stopped_at = time.monotonic()
    broker.kill()
    clock.set(jump_s)
    broker = start()
    # The stamps stand still while the broker is down, for the clock that says otherwise is not believed.
    down_s = time.monotonic() - stopped_at
    client = broker.client()
    expect_after(client, "delayed", messages.delayed_at, DELAY_S + down_s, "the delay ended")
    passed, _ = expect_after(client, "leased", messages.leased_at, LEASE_S + down_s, "the lease ended")
    messages.old_at += down_s
    expect_gone(client, messages)
    broker.kill()
    return f"the lease lasted {passed:.1f} s, {down_s:.1f} s of them down"


def over_restart_forward(start, clock, jump_s):
    """The clock jumps ahead while the broker is down: it is believed, as if the broker had been down for so long."""
    broker = start()
    messages = Messages(broker.client())
    broker.kill()
    clock.set(jump_s)
    broker = start()
    client = broker.client()
    for queue in ("delayed", "leased"):
        client.must("ReceiveMessage", queueName=queue, pollingWaitSeconds=1)
    assert client.call("ReceiveMessage", queueName="old", pollingWaitSeconds=0)["code"] == 7000
    refused = client.call("DeleteMessage", queueName="leased", receiptHandle=messages.handle)
    assert refused["code"] != 0, "the handle of a lease that ended deletes"
    broker.kill()
    # Back to the right time: stamps do not go back, and the lease of after the jump is whole.
    clock.set(0)
    broker = start()
    client = broker.client()
    leased_at = time.monotonic()
    client.must("SendMessage", queueName="old", msgBody="new")
    client.must("ReceiveMessage", queueName="old", pollingWaitSeconds=1)
    passed, _ = expect_after(client, "old", leased_at, LEASE_S, "the lease ended")
    broker.kill()
    return f"leases, delays and retention ended at the restart; a later lease lasted {passed:.1f} s"


def any_jump(broker, jump_s):
    """Whether a line of the log has a time that jumped; the queue that was made after the jump wrote one."""
    stamps = [line[:19] for line in broker.lines]
    times = [time.mktime(time.strptime(stamp, "%Y-%m-%dT%H:%M:%S")) for stamp in stamps if stamp[4:5] == "-"]
    return any(abs(later - earlier - jump_s) < 600 for earlier, later in zip(times, times[1:]))


SCENARIOS = {
    "an hour ahead, running": (running, HOUR_S),
    "an hour back, running": (running, -HOUR_S),
    "an hour ahead, over a restart": (over_restart_forward, HOUR_S),
    "an hour back, over a restart": (over_restart_backward, -HOUR_S),
}


def main():
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--broker", default="target/release/cmq-broker")
    program = os.path.abspath(flags.parse_args().broker)
    libraries = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    if not libraries:
        print("this machine cannot do it: libfaketime is not installed (apt-get install faketime)")
        sys.exit(NOT_POSSIBLE)
    results = {}

    def run(name, scenario, jump_s, root):
        clock = Clock(libraries[0], os.path.join(root, "clock"))
        brokers = []

        def start():
            brokers.append(Broker(program, os.path.join(root, "data"), clock.environment))
            return brokers[-1].wait_ready()

        try:
            results[name] = f"PASS {name}: {scenario(start, clock, jump_s)}"
        except Exception:
            log = brokers[-1].log() if brokers else ""
            results[name] = f"FAIL {name}: {traceback.format_exc()}\n{log}"
        for broker in brokers:
            if broker.is_alive():
                broker.kill()

    with tempfile.TemporaryDirectory(prefix="cmq-clock-") as root:
        threads = []
        for at, (name, (scenario, jump_s)) in enumerate(SCENARIOS.items()):
            own = os.path.join(root, str(at))
            os.mkdir(own)
            threads.append(threading.Thread(target=run, args=(name, scenario, jump_s, own)))
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    for name in SCENARIOS:
        print(results[name])
    sys.exit(0 if all(result.startswith("PASS") for result in results.values()) else 1)


if __name__ == "__main__":
    main()
