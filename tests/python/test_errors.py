"""Every kind of failure is an exception of its own, and every number is the one of C."""

import re
import unittest
from pathlib import Path

import peerchat
from peerchat import errors
from peerchat._native import native

HEADER = Path(__file__).resolve().parent.parent.parent / "include" / "peerchat.h"


class Errors(unittest.TestCase):
    def test_every_code_has_one_exception(self):
        kinds = {kind.code for kind in errors.PeerchatError.__subclasses__()}
        self.assertEqual(kinds, set(errors.ErrorCode))

    def test_codes_are_those_of_the_library_and_of_c(self):
        ours = {code.name: code.value for code in errors.ErrorCode}
        self.assertEqual(ours, {code.name: code.value for code in native.ErrorCode})
        in_c = {name: int(number) for name, number in re.findall(r"PEERCHAT_ERR_(\w+) = (-\d+),", HEADER.read_text())}
        # NULL and bytes that are not UTF-8 do not exist in Python.
        self.assertEqual(ours, {name: number for name, number in in_c.items() if number < -9})

    def test_states_are_those_of_the_library(self):
        ours = {state.name: state.value for state in peerchat.State}
        self.assertEqual(ours, {state.name: state.value for state in native.MessageState})

    def test_options_are_checked(self):
        for options, kind in [
            ({"user": ""}, errors.InvalidNameError),
            ({"user": "two words"}, errors.InvalidNameError),
            ({"bind": "localhost:0"}, errors.InvalidAddressError),
            ({"bind": "127.0.0.1:0", "port": 0}, errors.InvalidArgumentError),
            ({"k": 0}, errors.InvalidArgumentError),
            ({"k": 2, "alpha": 3}, errors.InvalidArgumentError),
            ({"network": ""}, errors.InvalidArgumentError),
            ({"data_dir": ""}, errors.InvalidArgumentError),
        ]:
            with self.subTest(options), self.assertRaises(kind) as caught:
                peerchat.Client(**options)
            self.assertEqual(caught.exception.code, kind.code)
            self.assertTrue(str(caught.exception))

    def test_exceptions_fit_python(self):
        with self.assertRaises(ValueError):
            peerchat.Client(user="")
        with self.assertRaises(peerchat.PeerchatError):
            peerchat.Client(user="")

    def test_a_version_is_a_version(self):
        self.assertRegex(peerchat.version(), r"^\d+\.\d+\.\d+$")


class Events(unittest.TestCase):
    def test_every_event_of_the_library_has_a_class(self):
        native_kinds = {name for name in vars(native.Event) if name.isupper()}
        self.assertEqual(native_kinds, set(peerchat.events._KINDS))

    def test_an_event_keeps_everything(self):
        event = peerchat.events.from_native(
            native.Event.MESSAGE(
                id="07" * 16,
                sender="alice",
                user_id="a" * 52,
                fingerprint="a" * 8,
                text="hi",
                number=3,
                sent_unix_ms=2**64 - 1,
                received_unix_ms=1500,
                is_request=True,
            )
        )
        self.assertIsInstance(event, peerchat.events.Message)
        self.assertEqual((event.sender, event.text, event.number, event.is_request), ("alice", "hi", 3, True))
        self.assertEqual(event.received.isoformat(), "1970-01-01T00:00:01.500000+00:00")
        # A stranger's clock cannot make it fail.
        self.assertEqual(event.sent.year, 9999)

    def test_codes_and_states_are_ours(self):
        event = peerchat.events.from_native(
            native.Event.MESSAGE_STATE(
                id="07" * 16,
                recipient="bob",
                state=native.MessageState.FAILED,
                held_by=0,
                code=native.ErrorCode.UNKNOWN_RECIPIENT,
                detail="nobody",
            )
        )
        self.assertIs(event.state, peerchat.State.FAILED)
        self.assertTrue(event.state.is_final)
        self.assertIs(event.code, peerchat.ErrorCode.UNKNOWN_RECIPIENT)

    def test_a_stored_message_says_who_keeps_it_and_is_not_final(self):
        event = peerchat.events.from_native(
            native.Event.MESSAGE_STATE(
                id="07" * 16, recipient="bob", state=native.MessageState.STORED, held_by=20, code=None, detail=""
            )
        )
        self.assertEqual((event.state, event.held_by), (peerchat.State.STORED, 20))
        self.assertFalse(event.state.is_final)


if __name__ == "__main__":
    unittest.main()
