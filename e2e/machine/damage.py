#!/usr/bin/env python3
"""Damages the files of a broker in every way of docs/repair.md, and repairs them.

    e2e/machine/damage.py [--broker target/release/cmq-broker] [NAME...]

For each damage: what the broker says at its start, that `inspect` and a dry `repair` change no byte, that `repair --apply`
lets the broker start again, and that every acknowledged message is there that was not reported as lost. Takes about a
minute; needs a gigabyte of disk.
"""

import argparse
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

from broker import Broker

MESSAGES = 400
# Makes the tree of messages flush a few tables, and leaves much in the journal.
BODY_BYTES = 40_000


class Case:
    def __init__(self, name, harm, says, names, loses=False, repairs=True, starts=False, empties=False):
        self.name, self.harm, self.says, self.names = name, harm, says, names
        self.loses, self.repairs, self.starts, self.empties = loses, repairs, starts, empties


def journal(data):
    """The journal, and where its content ends."""
    path = sorted(glob.glob(f"{data}/db/*.jnl"), key=lambda path: int(os.path.basename(path)[:-4]))[-1]
    with open(path, "rb") as file:
        return path, len(file.read().rstrip(b"\0"))


def flip(path, at, count=1):
    with open(path, "r+b") as file:
        file.seek(at)
        old = file.read(count)
        file.seek(at)
        file.write(bytes(byte ^ 0x55 for byte in old))


def flip_in_journal(part):
    def harm(data):
        path, length = journal(data)
        flip(path, int(length * part))

    return harm


def zero_in_journal(data):
    path, length = journal(data)
    with open(path, "r+b") as file:
        file.seek(length // 2)
        file.write(bytes(4096))


def cut_journal(data):
    path, length = journal(data)
    os.truncate(path, length * 2 // 3)


def remove(pattern):
    def harm(data):
        found = glob.glob(f"{data}/{pattern}")
        assert found, pattern
        for path in found:
            os.remove(path)

    return harm


def zero(name):
    def harm(data):
        size = os.path.getsize(f"{data}/{name}")
        with open(f"{data}/{name}", "r+b") as file:
            file.write(bytes(size))

    return harm


def flip_in_table(data):
    # The newest: what is in it was not deleted yet.
    tables = sorted(glob.glob(f"{data}/db/keyspaces/1/tables/*"), key=lambda path: int(os.path.basename(path)))
    flip(tables[-1], os.path.getsize(tables[-1]) // 3, 64)


LOG = "db/keyspaces/1"
# What is lost as a whole is named by its batches or, where tables hold rows from behind the break, by where the log ends.
WHOLE = "batches|is the last that can be used"
CASES = [
    Case("durable missing", remove("durable"), "durable", ["durable"]),
    Case("durable zeroed", zero("durable"), "durable", ["durable"]),
    Case("ballast missing", remove("ballast"), "", [], starts=True),
    Case("lock missing", remove("lock"), "", [], starts=True),
    Case("current missing", remove(f"{LOG}/current"), "current", ["current"]),
    Case("current zeroed", zero(f"{LOG}/current"), "current", ["current"]),
    Case("list of tables missing", remove(f"{LOG}/v*"), "names is missing", ["manifest"], repairs=False),
    Case("journal flipped, early", flip_in_journal(0.2), ".jnl", [".jnl", "batches"], loses=True),
    Case("journal flipped, late", flip_in_journal(0.8), ".jnl", [".jnl", "batches"], loses=True),
    Case("journal zeroed", zero_in_journal, ".jnl", [".jnl", "batches"], loses=True),
    Case("journal cut", cut_journal, "synced|is missing", [WHOLE], loses=True),
    Case("journal missing", remove("db/*.jnl"), "synced|is missing", [WHOLE], loses=True, empties=True),
    Case("block of a table flipped", flip_in_table, "cannot be read", ["message|entr"], loses=True, starts=None),
]


class Ledger:
    def __init__(self):
        self.sent, self.deleted = {}, set()

    def body(self, number):
        return f"{number:08}:" + chr(97 + number % 26) * BODY_BYTES


def fill(program, data):
    """A volume with messages that were sent and, every third of them, deleted."""
    broker = Broker(program, data, {"CMQ_MEMORY": str(64 << 20)}).wait_ready()
    client = broker.client()
    ledger = Ledger()
    client.must("CreateQueue", queueName="orders", visibilityTimeout=1)
    # The queue is in a checkpoint then.
    time.sleep(1.5)
    for number in range(MESSAGES):
        sent = client.must("SendMessage", queueName="orders", msgBody=ledger.body(number))
        ledger.sent[number] = sent["msgId"]
        if number % 3 == 2:
            received = client.must("ReceiveMessage", queueName="orders", pollingWaitSeconds=1)
            client.must("DeleteMessage", queueName="orders", receiptHandle=received["receiptHandle"])
            ledger.deleted.add(int(received["msgBody"][:8]))
    broker.kill()
    return ledger


def fingerprint(data):
    digest = hashlib.sha256()
    for folder, folders, files in os.walk(data):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(folder, name)
            digest.update(path.encode())
            with open(path, "rb") as file:
                digest.update(file.read())
    return digest.hexdigest()


def tool(program, *arguments):
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120)
    assert "panicked" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def check(program, case, data, ledger):
    case.harm(data)
    before = fingerprint(data)
    code, shown = tool(program, "inspect", "--data-dir", data)
    # Whether a broker starts hangs on what lies in the block: messages that wait, or entries that it has to apply.
    starts = code == 0 if case.starts is None else case.starts
    assert code == (0 if starts else 1), f"inspect: {code} {shown}"
    code, dry = tool(program, "repair", "--data-dir", data)
    assert fingerprint(data) == before, "inspect or a dry repair changed the volume"
    if not starts:
        refused = Broker(program, data)
        assert refused.wait_end(60) == 1, refused.log()
        said = refused.lines[-1]
        assert re.search(case.says, said) and "cmq-broker repair --data-dir" in said, said
        assert "panicked" not in refused.log(), refused.log()
    for name in case.names:
        assert re.search(name, dry), f"a dry repair does not speak of {name}: {dry}"
    lost, reported = set(), dry
    if case.names:
        assert code == 1, dry
        if case.loses:
            code, shown = tool(program, "repair", "--data-dir", data, "--apply")
            assert code == 1 and "--accept-loss" in shown, shown
        flags = ["--apply", "--accept-loss"] if case.loses else ["--apply"]
        code, reported = tool(program, "repair", "--data-dir", data, *flags)
        assert (code == 0) == case.repairs, reported
        if not case.repairs:
            return reported.splitlines()[0]
    lost = set(re.findall(r"lost: message (\d+)", reported))
    # And not message by message.
    batches = re.search(WHOLE, reported) is not None
    code, shown = tool(program, "inspect", "--data-dir", data)
    assert code == 0, f"after the repair: {shown}"

    broker = Broker(program, data).wait_ready()
    client = broker.client()
    found = set()
    while True:
        answer = client.call("ReceiveMessage", queueName="orders", pollingWaitSeconds=2)
        if answer["code"] == 7000 or case.empties and answer["code"] == 4440:
            break
        assert answer["code"] == 0, f"{answer}\n{broker.log()}"
        number = int(answer["msgBody"][:8])
        assert answer["msgBody"] == ledger.body(number) and answer["msgId"] == ledger.sent[number]
        assert number not in found, f"message {number} twice"
        assert answer["msgId"] not in lost, f"message {number} was reported lost and is there"
        found.add(number)
        client.must("DeleteMessage", queueName="orders", receiptHandle=answer["receiptHandle"])
    if case.empties:
        client.must("CreateQueue", queueName="orders")
    sent = client.must("SendMessage", queueName="orders", msgBody="new")
    assert sent["msgId"] not in ledger.sent.values(), "the id of a lost message is used again"
    broker.stop()

    missing = {number for number in ledger.sent if number not in found and number not in ledger.deleted}
    unreported = {number for number in missing if ledger.sent[number] not in lost}
    back = found & ledger.deleted
    if not batches:
        assert not unreported, f"lost and not reported: {sorted(unreported)}"
        assert not back, f"deleted messages came back: {sorted(back)}"
    return f"{len(found)} there, {len(missing)} lost, {len(lost)} named, {len(back)} deletes undone"


def main():
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--broker", default="target/release/cmq-broker")
    flags.add_argument("names", nargs="*")
    arguments = flags.parse_args()
    program = os.path.abspath(arguments.broker)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="cmq-damage-") as root:
        whole = os.path.join(root, "whole")
        ledger = fill(program, whole)
        for case in CASES:
            if arguments.names and case.name not in arguments.names:
                continue
            data = os.path.join(root, "data")
            shutil.copytree(whole, data)
            try:
                print(f"PASS {case.name}: {check(program, case, data, ledger)}", flush=True)
            except AssertionError as error:
                failed += 1
                print(f"FAIL {case.name}: {error}", flush=True)
            shutil.rmtree(data)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
