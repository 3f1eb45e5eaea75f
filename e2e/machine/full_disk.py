#!/usr/bin/env python3
"""Fills a real small volume under a real broker, and proves that nothing acknowledged is lost.

    sudo e2e/machine/full_disk.py [--broker target/release/cmq-broker]

Makes an ext4 file system of about the smallest size in a file, mounts it by a loop device, and then: fills it until sends
are refused, receives and deletes meanwhile, kills the broker in that state, lets a foreign file eat the reserve until the
system has no room at all, opens the full volume again, drains it, and sends again. Needs root and a loop device; exits with
3 when this machine has none. Takes about five minutes, most of it waiting until space is won back.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time

from broker import Broker, until

MIB = 1 << 20
IMAGE_BYTES = 950 * MIB
SMALL_IMAGE_BYTES = 700 * MIB
BODY_BYTES = 60_000
BATCH = 10
SENDERS = 4
VISIBILITY_S = 15
REFUSED = 6000
# What the foreign file leaves free at first, so that the rest is used up by the broker itself.
FOREIGN_LEAVES_BYTES = 4 * MIB
# What the broker logs when a compaction would need more than is free.
NO_ROOM = "no room to win space back"
NOT_POSSIBLE = 3


class Ledger:
    """What was acknowledged."""

    def __init__(self):
        self.lock = threading.Lock()
        self.sent = set()
        self.in_doubt = set()
        self.deleted = set()
        self.delete_in_doubt = set()
        self.next = 0

    def number(self):
        with self.lock:
            self.next += 1
            return self.next

    def open(self):
        return self.sent - self.deleted


def body(number):
    return f"{number:012}:" + chr(97 + number % 26) * (BODY_BYTES - 13)


def number_of(text):
    number = int(text[:12])
    assert text == body(number), f"message {number} came back changed"
    return number


class Volume:
    """A file system in a file."""

    def __init__(self, root, size):
        self.image, self.path = os.path.join(root, f"{size}.img"), os.path.join(root, f"volume-{size}")
        os.mkdir(self.path)
        with open(self.image, "wb") as image:
            image.truncate(size)
        run("mkfs.ext4", "-q", "-m", "0", self.image)
        run("mount", "-o", "loop", self.image, self.path)

    def free(self):
        figures = os.statvfs(self.path)
        return figures.f_bavail * figures.f_frsize

    def total(self):
        figures = os.statvfs(self.path)
        return figures.f_blocks * figures.f_frsize

    def close(self):
        run("umount", self.path)
        os.remove(self.image)


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(f"this machine cannot do it: {' '.join(command)}: {done.stderr.strip()}")
        sys.exit(NOT_POSSIBLE)


def say(text):
    print(text, flush=True)


def send_batch(client, ledger):
    """The answer's code and text; the ledger knows what it means for the messages."""
    numbers = [ledger.number() for _ in range(BATCH)]
    bodies = {f"msgBody.{at + 1}": body(number) for at, number in enumerate(numbers)}
    with ledger.lock:
        ledger.in_doubt.update(numbers)
    answer = client.call("BatchSendMessage", queueName="orders", **bodies)
    with ledger.lock:
        ledger.in_doubt.difference_update(numbers)
        if answer["code"] == 0:
            ledger.sent.update(numbers)
    return answer


def fill(broker, ledger):
    """Sends until it is refused; answers the refusal."""
    refusals = []

    def work():
        client = broker.client()
        while not refusals:
            answer = send_batch(client, ledger)
            if answer["code"] != 0:
                refusals.append(answer)

    workers = [threading.Thread(target=work) for _ in range(SENDERS)]
    [worker.start() for worker in workers]
    [worker.join(300) for worker in workers]
    assert refusals, f"never refused:\n{broker.log()}"
    return refusals[0]


def consume(client, ledger, most, wait=0):
    """Receives and deletes up to so many messages; answers how many were deleted."""
    done = 0
    while done < most:
        answer = client.call("BatchReceiveMessage", queueName="orders", numOfMsg=16, pollingWaitSeconds=wait)
        if answer["code"] == 7000:
            break
        assert answer["code"] == 0, answer
        numbers = []
        for message in answer["msgInfoList"]:
            number = number_of(message["msgBody"])
            assert number in ledger.sent or number in ledger.in_doubt, f"nobody sent message {number}"
            assert number not in ledger.deleted, f"message {number} came back after its delete"
            numbers.append(number)
        handles = {f"receiptHandle.{at + 1}": m["receiptHandle"] for at, m in enumerate(answer["msgInfoList"])}
        ledger.delete_in_doubt.update(numbers)
        deleted = client.must("BatchDeleteMessage", queueName="orders", **handles)
        assert deleted["code"] == 0
        ledger.delete_in_doubt.difference_update(numbers)
        ledger.deleted.update(numbers)
        done += len(numbers)
    return done


def check_counts(client, ledger):
    counts = client.must("GetQueueAttributes", queueName="orders")
    there = counts["activeMsgNum"] + counts["inactiveMsgNum"] + counts["delayMsgNum"]
    certain = len(ledger.open() - ledger.delete_in_doubt)
    possible = len((ledger.sent | ledger.in_doubt) - ledger.deleted)
    assert certain <= there <= possible, f"{there} messages are there, {certain} to {possible} must be"


def try_small(program, root):
    volume = Volume(root, SMALL_IMAGE_BYTES)
    try:
        broker = Broker(program, os.path.join(volume.path, "data"))
        code = broker.wait_end(60)
        assert code == 1 and "at least" in broker.log() and volume.path in broker.log(), broker.log()
        say(f"a volume of {volume.total() // MIB} MiB is refused: {broker.lines[-1]}")
    finally:
        volume.close()


def main():
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--broker", default="target/release/cmq-broker")
    program = os.path.abspath(flags.parse_args().broker)
    if os.geteuid() != 0:
        print("this machine cannot do it: mounting needs root")
        sys.exit(NOT_POSSIBLE)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cmq-full-disk-") as root:
        try_small(program, root)
        volume = Volume(root, IMAGE_BYTES)
        try:
            fill_and_drain(program, volume)
        finally:
            volume.close()
    say(f"PASS in {time.monotonic() - started:.0f} s")


def fill_and_drain(program, volume):
    data = os.path.join(volume.path, "data")
    ledger = Ledger()
    broker = Broker(program, data).wait_ready()
    try:
        client = broker.client()
        client.must("CreateQueue", queueName="orders", visibilityTimeout=VISIBILITY_S)
        say(f"volume of {volume.total() // MIB} MiB, {volume.free() // MIB} MiB free")

        refusal = fill(broker, ledger)
        say(f"refused after {len(ledger.sent) * BODY_BYTES // MIB} MiB, {volume.free() // MIB} MiB free: {refusal}")
        assert refusal["code"] == REFUSED and "10050" in refusal["message"], refusal
        assert "again" in refusal["message"] or "retry" in refusal["message"], refusal

        done = consume(client, ledger, 300)
        assert done >= 300
        say(f"{done} messages received and deleted while sends are refused")
        check_counts(client, ledger)

        broker.kill()
        broker = Broker(program, data).wait_ready()
        client = broker.client()
        check_counts(client, ledger)
        say(f"killed and started again: {len(ledger.open())} messages are there, {volume.free() // MIB} MiB free")

        broker = eat_the_reserve(broker, volume, ledger, program, data)

        client = broker.client()
        while ledger.open():
            if consume(client, ledger, 10_000, wait=1) == 0:
                time.sleep(0.5)
            assert time.monotonic() - BEGAN < 900, f"{len(ledger.open())} messages do not come"
        counts = client.must("GetQueueAttributes", queueName="orders")
        say(f"drained: all {len(ledger.sent)} acknowledged messages came, each whole; counts {counts['activeMsgNum']}")
        waited = until("sends come back", lambda: send_batch(client, ledger)["code"] == 0, 400, 1)
        say(f"sends came back by themselves after {waited:.0f} s, {volume.free() // MIB} MiB free")
        consume(client, ledger, 10_000, wait=1)
        until("empty", lambda: consume(client, ledger, 10_000) == 0 and not ledger.open(), 60)
        broker.stop()
    finally:
        if broker.is_alive():
            broker.kill()


def eat_the_reserve(broker, volume, ledger, program, data):
    """A foreign file takes all room; the process ends with a word, and opens again."""
    foreign = os.path.join(volume.path, "foreign")
    with open(foreign, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(volume.free() - FOREIGN_LEAVES_BYTES, 1))
    say(f"a foreign file takes the reserve, {volume.free() // MIB} MiB free")
    client = broker.client()
    try:
        while broker.is_alive() and ledger.open():
            # The journals are allocated ahead: it takes a while until the broker asks for more.
            if consume(client, ledger, 1000) == 0:
                time.sleep(0.2)
    except (OSError, ValueError, AssertionError) as error:
        say(f"the call that met the full disk: {type(error).__name__} {error}"[:200])
    if broker.is_alive() and not ledger.open():
        # Nothing is deleted from here on: space must come back although a look found no room to win it.
        until("a look finds no room", lambda: any(NO_ROOM in line for line in broker.lines) or not broker.is_alive(), 60)
        say("drained before the system ran out of room: no real ENOSPC happened")
    else:
        code = broker.wait_end(60)
        say(f"ended with {code}: {broker.lines[-1]}")
        assert code == 1, broker.log()
        assert "ERROR" in broker.lines[-1] and "panicked" not in broker.log(), broker.log()
        say(f"{volume.free() // 1024} KiB free, ballast is there: {os.path.exists(os.path.join(data, 'ballast'))}")
        broker = Broker(program, data).wait_ready()
        say(f"opened again: {[line for line in broker.lines if 'ballast' in line]}")
        check_counts(broker.client(), ledger)
        consume(broker.client(), ledger, 50)
    os.remove(foreign)
    return broker


BEGAN = time.monotonic()
if __name__ == "__main__":
    main()
