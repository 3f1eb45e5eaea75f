"""The ledger of load.py finds what it is there for: python -m unittest discover e2e/clients/python."""

import unittest
from types import SimpleNamespace

from load import Ledger


class TheLedger(unittest.TestCase):
    def setUp(self):
        self.ledger = Ledger(SimpleNamespace(bytes=64, lease=30))
        self.number = self.ledger.begin()
        self.ledger.send_acknowledged(self.number)

    def message(self, number, body=None, identity="1"):
        return SimpleNamespace(msgId=identity, msgBody=body or self.ledger.body(number))

    def assert_found(self, what, count=1):
        verdict = self.ledger.verdict()
        self.assertEqual({**verdict, **verdict["doubles"]}[what], count)
        self.assertFalse(verdict["clean"])

    def test_nothing_wrong(self):
        self.ledger.received(self.message(self.number))
        self.ledger.deleted(self.message(self.number))
        self.assertTrue(self.ledger.verdict()["clean"])
        self.assertEqual(self.ledger.outstanding(), 0)

    def test_a_loss(self):
        self.assert_found("lost")
        self.assertEqual(self.ledger.outstanding(), 1)

    def test_a_message_that_two_hold(self):
        self.ledger.received(self.message(self.number))
        self.ledger.received(self.message(self.number))
        self.assert_found("early")

    def test_a_message_that_was_sent_twice(self):
        self.ledger.received(self.message(self.number))
        self.ledger.received(self.message(self.number, identity="2"))
        self.assertTrue(self.ledger.verdict()["clean"])
        self.assertEqual(self.ledger.verdict()["doubles"]["again"], 1)

    def test_a_deleted_message(self):
        self.ledger.received(self.message(self.number))
        self.ledger.deleted(self.message(self.number))
        self.ledger.received(self.message(self.number))
        self.assert_found("afterDelete")

    def test_a_damaged_message(self):
        self.ledger.received(self.message(self.number, self.ledger.body(self.number)[:-1] + "?"))
        self.assert_found("damaged")

    def test_a_message_that_was_never_sent(self):
        self.ledger.received(self.message(self.number))
        self.ledger.received(self.message(self.number + 1, identity="2"))
        self.assert_found("invented")

    def test_a_message_that_was_refused(self):
        self.ledger.received(self.message(self.number))
        refused = self.ledger.begin()
        self.ledger.send_refused(refused, RuntimeError("6000"))
        self.ledger.received(self.message(refused, identity="2"))
        self.assert_found("invented")

    def test_another_runs_message(self):
        self.ledger.received(self.message(self.number))
        self.ledger.received(self.message(self.number, "somebody else's", identity="2"))
        self.assertEqual(self.ledger.verdict()["foreign"], 1)
        self.assertTrue(self.ledger.verdict()["clean"])


if __name__ == "__main__":
    unittest.main()
