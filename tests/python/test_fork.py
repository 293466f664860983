"""A fork copies none of the library's threads: the child is told so, and neither hangs nor disturbs its parent."""

import os
import subprocess
import sys
import unittest

SCRIPT = """
import os, peerchat
from peerchat import errors

def attempt(name, call):
    try:
        call()
        print(name, "worked", flush=True)
    except errors.ForkedError as error:
        print(name, error.code.name, "spawn" in str(error), flush=True)

{before}
child = os.fork()
if child == 0:
    {in_child}
else:
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    {in_parent}
"""

CLIENT = "client = peerchat.Client(bind='127.0.0.1:0', user='alice')"


@unittest.skipUnless(hasattr(os, "fork"), "there is no fork here")
class Fork(unittest.TestCase):
    def run_script(self, before, in_child, in_parent="pass"):
        script = SCRIPT.format(before=before, in_child="\n    ".join(in_child), in_parent=in_parent)
        process = subprocess.run(
            # From 3.12 on Python warns of threads itself.
            [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        self.assertEqual((process.returncode, process.stderr), (0, ""), process.stdout)
        return process.stdout.splitlines()

    def test_every_call_in_the_child_says_what_happened(self):
        lines = self.run_script(CLIENT, [
            "attempt('send', lambda: client.send_blocking('bob', 'x'))",
            "attempt('poll', lambda: client.poll(60))",
            "attempt('iterate', lambda: list(client.events()))",
            "attempt('shutdown', client.shutdown)",
            "attempt('open', lambda: peerchat.Client(bind='127.0.0.1:0'))",
        ])  # fmt: skip
        self.assertEqual(lines, [f"{name} CLOSED True" for name in ("send", "poll", "iterate", "shutdown", "open")])

    def test_the_child_ends_and_the_parent_goes_on(self):
        in_parent = "print(client.bootstrap('127.0.0.1:1'), client.shutdown())"
        self.assertEqual(self.run_script(CLIENT, ["del client"], in_parent), ["1 True"])

    def test_the_first_client_may_be_opened_in_the_child(self):
        lines = self.run_script("", [CLIENT, "print(client.bootstrap('127.0.0.1:1'), client.shutdown())"])
        self.assertEqual(lines, ["1 True"])


if __name__ == "__main__":
    unittest.main()
