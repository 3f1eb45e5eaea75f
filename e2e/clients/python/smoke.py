#!/usr/bin/env python3
"""Uses a broker through the unmodified CMQ Python SDK and checks every answer.

    smoke.py http://127.0.0.1:9324
    smoke.py http://127.0.0.1:9324 --secret-id ID --secret-key KEY

Makes queues of its own and deletes them. Exits with 0 when every answer is the documented one. With a key, each way
to sign is used, and calls signed wrongly must be refused; without one, the broker must check no signatures.
"""

import argparse
import json
import sys
import threading
import time
import uuid
from contextlib import contextmanager

from cmq.account import Account
from cmq.cmq_exception import CMQServerException
from cmq.queue import Message, QueueMeta

# Outcome codes of the protocol.
BAD_PARAMETER = 4000
UNAUTHORIZED = 4100
TOO_LARGE = 4400
BAD_HANDLE = 4430
NO_QUEUE = 4440
NO_REWIND = 6050
DELETED_NONE = 6020
DELETED_SOME = 6010
NO_MESSAGE = 7000

SETTABLE = ("visibilityTimeout", "pollingWaitSeconds", "maxMsgSize", "msgRetentionSeconds", "maxMsgHeapNum")

BATCH_MAX = 16
# Slack for a busy machine, in seconds, where a check needs an upper bound.
SLACK = 3


def main():
    flags = read_flags()
    ways = [("POST", "sha1")]
    if flags.secret_id:
        ways = [(method, hash_name) for method in ("POST", "GET") for hash_name in ("sha1", "sha256")]
    for method, hash_name in ways:
        print(f"{method}, HMAC-{hash_name.upper()}")
        run_checks(connect(flags, method, hash_name), method)
    if flags.secret_id:
        check("a wrong signature is refused", refuses_strangers, flags)
    print("the SDK got every answer that it should")


def read_flags():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("endpoint", help="http://HOST:PORT of the client port")
    parser.add_argument("--secret-id", default="", help="id of an access key that the broker knows")
    parser.add_argument("--secret-key", default="", help="its secret")
    return parser.parse_args()


def connect(flags, method="POST", hash_name="sha1", **other_key):
    key = {"secretId": flags.secret_id, "secretKey": flags.secret_key} | other_key
    account = Account(flags.endpoint, **key)
    account.close_log()
    account.set_sign(hash_name)
    account.get_client().set_method(method)
    return account


def run_checks(account, method):
    for name, action in (
        ("create, list, attributes, delete", life_of_a_queue),
        ("send, receive, delete", one_message),
        ("batches", batches),
        ("every byte of a body comes back", bodies),
        ("a long poll wakes at once", long_poll),
        ("an empty poll waits and ends", empty_poll),
        ("delay", delay),
        ("visibility timeout", visibility),
        ("attributes changed", changes),
        ("rewind", rewind),
        ("dead letters", dead_letters),
        ("clear", clear),
        ("errors", errors),
    ):
        # A URL is shorter than a body may be.
        if not (action is bodies and method == "GET"):
            check(name, action, account)


def check(name, action, argument):
    started = time.monotonic()
    action(argument)
    print(f"  {name}: {time.monotonic() - started:.2f} s")


def life_of_a_queue(account):
    name = unique_name()
    meta = QueueMeta()
    meta.visibilityTimeout, meta.pollingWaitSeconds, meta.maxMsgSize = 41, 7, 2048
    meta.msgRetentionSeconds, meta.maxMsgHeapNum = 86_400, 2_000_000
    queue = account.get_queue(name)
    queue.create(meta)
    total, found, _ = account.list_queue(searchWord=name)
    equal(total, 1)
    equal([entry["queueName"] for entry in found], [name])
    seen = queue.get_attributes()
    for attribute in SETTABLE:
        equal(getattr(seen, attribute), getattr(meta, attribute))
    equal((seen.activeMsgNum, seen.inactiveMsgNum, seen.delayMsgNum), (0, 0, 0))
    near(seen.createTime, time.time(), SLACK + 60)
    queue.delete()
    equal(account.list_queue(searchWord=name), (0, [], ""))


def one_message(account):
    with new_queue(account) as queue:
        sent = queue.send_message(Message("hello"))
        got = queue.receive_message(SLACK)
        equal((got.msgId, got.msgBody, got.dequeueCount), (sent.msgId, "hello", 1))
        near(got.enqueueTime, time.time(), SLACK + 60)
        equal(got.nextVisibleTime - got.firstDequeueTime, 30)
        queue.delete_message(got.receiptHandle)
        refused(NO_MESSAGE, queue.receive_message, 0)


def batches(account):
    with new_queue(account) as queue:
        sent = queue.batch_send_message([Message(f"message {number}") for number in range(BATCH_MAX)])
        equal(len({message.msgId for message in sent}), BATCH_MAX)
        wait_for_active(queue, BATCH_MAX)
        got = queue.batch_receive_message(BATCH_MAX, SLACK)
        while len(got) < BATCH_MAX:  # A receive never waits to fill a batch.
            got += queue.batch_receive_message(BATCH_MAX - len(got), SLACK)
        equal({m.msgId: m.msgBody for m in got}, {m.msgId: f"message {n}" for n, m in enumerate(sent)})
        handles = [message.receiptHandle for message in got]
        queue.batch_delete_message(handles[:-1])
        part = refused(DELETED_SOME, queue.batch_delete_message, handles[-2:])
        equal([(entry["code"], entry["receiptHandle"]) for entry in part["errorList"]], [(BAD_HANDLE, handles[-2])])
        none = refused(DELETED_NONE, queue.batch_delete_message, handles[-2:])
        equal([entry["receiptHandle"] for entry in none["errorList"]], handles[-2:])
        refused(NO_MESSAGE, queue.batch_receive_message, BATCH_MAX, 0)


def bodies(account):
    with new_queue(account) as queue:
        for body in ("@leading sign", "a&b=c+d %41 %zz", " \t\r\n\x01\"\\/ ", "消息 ✉ 🐇", "x" * 65_536):
            queue.send_message(Message(body))
            got = queue.receive_message(SLACK)
            equal(got.msgBody, body)
            queue.delete_message(got.receiptHandle)


def long_poll(account):
    with new_queue(account) as queue:
        # A second connection: an account is not for two threads.
        sender = duplicate(account).get_queue(queue.queue_name)
        later = threading.Timer(1.0, lambda: sender.send_message(Message("wake up")))
        started = time.monotonic()
        later.start()
        got = queue.receive_message(20)
        took = time.monotonic() - started
        later.join()
        equal(got.msgBody, "wake up")
        within(1.0, took, 1.0 + SLACK)
        queue.delete_message(got.receiptHandle)


def empty_poll(account):
    with new_queue(account) as queue:
        started = time.monotonic()
        refused(NO_MESSAGE, queue.receive_message, 1)
        within(1.0, time.monotonic() - started, 1.0 + SLACK)


def delay(account):
    with new_queue(account) as queue:
        started = time.monotonic()
        queue.send_message(Message("not yet"), 2)
        equal(queue.get_attributes().delayMsgNum, 1)
        refused(NO_MESSAGE, queue.receive_message, 0)
        got = queue.receive_message(20)
        # Times of the protocol are whole seconds.
        within(1.0, time.monotonic() - started, 2.0 + SLACK)
        queue.delete_message(got.receiptHandle)


def visibility(account):
    with new_queue(account, visibilityTimeout=1) as queue:
        queue.send_message(Message("again"))
        first = queue.receive_message(SLACK)
        second = queue.receive_message(20)
        equal((second.msgId, second.dequeueCount), (first.msgId, 2))
        equal(second.firstDequeueTime, first.firstDequeueTime)
        refused(BAD_HANDLE, queue.delete_message, first.receiptHandle)
        queue.delete_message(second.receiptHandle)


def changes(account):
    with new_queue(account, maxMsgHeapNum=2_000_000) as queue:
        meta = queue.get_attributes()
        meta.visibilityTimeout, meta.pollingWaitSeconds, meta.maxMsgSize = 41, 7, 2048
        meta.msgRetentionSeconds, meta.rewindSeconds = 86_400, 3_600
        queue.set_attributes(meta)
        seen = queue.get_attributes()
        for attribute in (*SETTABLE, "rewindSeconds"):
            equal(getattr(seen, attribute), getattr(meta, attribute))
        # What a call does not name stays.
        account.get_client().set_queue_attributes({"queueName": queue.queue_name, "pollingWaitSeconds": 0})
        seen = queue.get_attributes()
        equal((seen.pollingWaitSeconds, seen.visibilityTimeout, seen.rewindSeconds), (0, 41, 3_600))
        meta.rewindSeconds = 86_401
        refused(BAD_PARAMETER, queue.set_attributes, meta)


def rewind(account):
    with new_queue(account) as queue:
        refused(NO_REWIND, queue.rewindQueue, int(time.time()))
        meta = queue.get_attributes()
        meta.rewindSeconds = 3_600
        queue.set_attributes(meta)
        sent = queue.send_message(Message("once more"))
        got = queue.receive_message(SLACK)
        queue.delete_message(got.receiptHandle)
        equal(queue.get_attributes().rewindmsgNum, 1)
        refused(BAD_PARAMETER, queue.rewindQueue, got.enqueueTime - 7_200)
        queue.rewindQueue(got.enqueueTime)
        again = queue.receive_message(SLACK)
        equal((again.msgId, again.msgBody), (sent.msgId, "once more"))
        queue.delete_message(again.receiptHandle)


def clear(account):
    with new_queue(account) as queue:
        queue.batch_send_message([Message("one"), Message("two")])
        call(account, "ClearQueue", queueName=queue.queue_name)
        refused(NO_MESSAGE, queue.receive_message, 0)
        equal(queue.get_attributes().minMsgTime, 0)


def dead_letters(account):
    # The SDK's own objects have no dead-letter policy; its client takes any action and parameter.
    client = account.get_client()
    with new_queue(account) as dead:
        name = unique_name()
        policy = {"deadLetterQueue": dead.queue_name, "policy": 0, "maxReceiveCount": 1}
        client.create_queue({"queueName": name, "visibilityTimeout": 1, "deadLetterPolicy": json.dumps(policy)})
        queue = account.get_queue(name)
        try:
            sent = queue.send_message(Message("nobody can read this"))
            queue.receive_message(SLACK)
            time.sleep(1.1)
            refused(NO_MESSAGE, queue.receive_message, 2)
            got = dead.receive_message(SLACK)
            equal((got.msgId, got.msgBody), (sent.msgId, "nobody can read this"))
            sources = call(account, "ListDeadLetterSourceQueues", deadLetterQueueName=dead.queue_name)
            equal([entry["queueName"] for entry in sources["queueList"]], [name])
            refused(BAD_PARAMETER, dead.delete)
            call(account, "UnbindDeadLetterQueue", queueName=name)
            sources = call(account, "ListDeadLetterSourceQueues", deadLetterQueueName=dead.queue_name)
            equal((sources["totalCount"], sources["queueList"]), (0, []))
        finally:
            queue.delete()


def errors(account):
    missing = account.get_queue(unique_name())
    for call in (missing.get_attributes, missing.receive_message, missing.delete):
        refused(NO_QUEUE, call)
    refused(NO_QUEUE, missing.send_message, Message("to nobody"))
    refused(BAD_PARAMETER, account.get_queue("not a name").create, QueueMeta())
    with new_queue(account, maxMsgSize=1024) as queue:
        other = QueueMeta()
        other.visibilityTimeout = 99
        exists = refused(BAD_PARAMETER, queue.create, other)
        within(0, exists["message"].find("(4460)"), 0)
        refused(TOO_LARGE, queue.send_message, Message("x" * 1025))
        refused(BAD_PARAMETER, queue.send_message, Message(""))
        refused(BAD_PARAMETER, queue.batch_send_message, [Message("x")] * (BATCH_MAX + 1))
        refused(BAD_PARAMETER, queue.send_message, Message("x"), 999_999_999)
        refused(BAD_HANDLE, queue.delete_message, "no-handle")
        refused(BAD_PARAMETER, queue.batch_receive_message, BATCH_MAX + 1, 0)


def refuses_strangers(flags):
    for other_key in ({"secretKey": flags.secret_key + "x"}, {"secretId": flags.secret_id + "x"}):
        refused(UNAUTHORIZED, connect(flags, **other_key).list_queue)


@contextmanager
def new_queue(account, **attributes):
    meta = QueueMeta()
    for name, value in attributes.items():
        setattr(meta, name, value)
    queue = account.get_queue(unique_name())
    queue.create(meta)
    try:
        yield queue
    finally:
        queue.delete()


def unique_name():
    return "smoke-" + uuid.uuid4().hex


def duplicate(account):
    client = account.get_client()
    scheme = "https" if client.is_https else "http"
    other = Account(f"{scheme}://{client.host}", account.secretId, account.secretKey)
    other.close_log()
    other.set_sign(client.sign_method)
    other.get_client().set_method(client.method)
    return other


def wait_for_active(queue, count):
    until = time.monotonic() + SLACK
    while queue.get_attributes().activeMsgNum != count:
        if time.monotonic() > until:
            fail(f"activeMsgNum is {queue.get_attributes().activeMsgNum}, not {count}")
        time.sleep(0.05)


def call(account, action, **parameters):
    """The answer of an action for which the SDK has no method."""
    client = account.get_client()
    response = client.request(action, parameters)
    client.check_status(response)
    return json.loads(response.data)


def refused(code, call, *arguments):
    """The answer of a call that must be refused with this code."""
    try:
        answer = call(*arguments)
    except CMQServerException as refusal:
        if refusal.code != code:
            fail(f"refused with {refusal.code} ({refusal.message}), not with {code}")
        return refusal.data
    return fail(f"answered {answer!r} instead of being refused with {code}")


def equal(seen, wanted):
    if seen != wanted:
        fail(f"{seen!r:.300} instead of {wanted!r:.300}")


def near(seen, wanted, slack):
    within(wanted - slack, seen, wanted + slack)


def within(low, seen, high):
    if not low <= seen <= high:
        fail(f"{seen} is not in {low} to {high}")


def fail(text):
    raise AssertionError(text)


if __name__ == "__main__":
    sys.exit(main())
