"""Programs on a stage: started together, read line by line, waited for in one place, and all stopped at the end."""

import json
import os
import pty
import re
import selectors
import shutil
import subprocess
import sys
import termios
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# How long a program may take to be ready, and to end after it closed its output.
READY_SECONDS = 30
EXIT_SECONDS = 20
# How a terminal client takes away what is being typed before it shows a line.
ERASE_ROW = "\r\x1b[K"


class Failure(Exception):
    """What went wrong, in words for whoever runs the programs."""


class Program:
    """A process whose output is read as it comes, line by line."""

    def __init__(self, name, process, writer, readers):
        self.name = name
        self.process = process
        self.writer = writer
        self.readers = readers
        self.unfinished = {reader: b"" for reader in readers}
        self.lines = []

    @classmethod
    def on_pipes(cls, name, command, env=None):
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=env, cwd=ROOT)
        stdout, stderr = os.dup(process.stdout.fileno()), os.dup(process.stderr.fileno())
        process.stdout.close()
        process.stderr.close()
        writer = os.dup(process.stdin.fileno())
        process.stdin.close()
        return cls(name, process, writer, [stdout, stderr])

    @classmethod
    def on_terminal(cls, name, command):
        master, terminal = pty.openpty()
        # What the program prints is read; an echo of what it is told would look the same.
        attributes = termios.tcgetattr(terminal)
        attributes[1] &= ~termios.OPOST
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(terminal, termios.TCSANOW, attributes)
        process = subprocess.Popen(
            command, stdin=terminal, stdout=terminal, stderr=terminal, cwd=ROOT, start_new_session=True
        )
        os.close(terminal)
        return cls(name, process, master, [master])

    def say(self, line):
        try:
            os.write(self.writer, line.encode() + b"\n")
        except OSError as error:
            raise Failure(f"{self.name} reads no more: {error}") from None

    def end_input(self):
        if self.writer in self.readers:
            os.write(self.writer, b"\x04")  # Ctrl-D: the other direction of a terminal stays open.
        elif self.writer is not None:
            os.close(self.writer)
        self.writer = None

    def has_said(self, text):
        """Whether a line, or a question that waits for its answer, contains `text`."""
        open_lines = [part.decode(errors="replace") for part in self.unfinished.values()]
        return any(text in line for line in self.lines + open_lines)

    def heard_from(self, sender):
        """The texts that this program printed as said by `sender`."""
        prefix = f"{sender}: "
        return [line[len(prefix):] for line in self.lines if line.startswith(prefix)]

    def close(self):
        for descriptor in {*self.readers, self.writer} - {None}:
            os.close(descriptor)
        self.readers, self.writer = [], None


class Stage:
    """Every program, and the one place that waits."""

    def __init__(self):
        self.programs = {}
        self.selector = selectors.DefaultSelector()

    def add(self, program):
        self.programs[program.name] = program
        for reader in program.readers:
            self.selector.register(reader, selectors.EVENT_READ, program)
        return program

    def wait(self, what, seconds, is_done):
        """Reads output until `is_done`, or fails when time is over or a program ends before it should."""
        deadline = time.monotonic() + seconds
        while not is_done():
            left = deadline - time.monotonic()
            if left <= 0:
                raise Failure(f"not within {seconds} s: {what}")
            if not self.selector.get_map():
                raise Failure(f"every program ended before this: {what}")
            for key, _ in self.selector.select(left):
                self.read(key.fd, key.data)

    def read(self, reader, program):
        try:
            data = os.read(reader, 65536)
        except OSError:  # A terminal whose program has ended.
            data = b""
        *lines, rest = (program.unfinished[reader] + data).split(b"\n")
        program.unfinished[reader] = rest
        shown = [line.decode(errors="replace").rstrip("\r").rsplit(ERASE_ROW, 1)[-1] for line in lines]
        program.lines += shown
        if not data:
            self.selector.unregister(reader)
            program.readers.remove(reader)
            if reader != program.writer:
                os.close(reader)
            if not program.readers:
                self.check_exit(program)

    def check_exit(self, program):
        try:
            code = program.process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failure(f"{program.name} closed its output and did not end") from None
        if code != 0:
            raise Failure(f"{program.name} ended with exit code {code}")

    def has_ended(self, name):
        return not self.programs[name].readers

    def stop(self):
        """Ends what is still running, first kindly; only processes that this stage started."""
        running = [program for program in self.programs.values() if program.process.poll() is None]
        for program in running:
            program.process.terminate()
        for program in running:
            try:
                program.process.wait(5)
            except subprocess.TimeoutExpired:
                program.process.kill()
                program.process.wait()
        for program in self.programs.values():
            program.close()
        self.selector.close()

    def print_output(self):
        for program in self.programs.values():
            print(f"--- what {program.name} printed", file=sys.stderr)
            open_lines = [part.decode(errors="replace") for part in program.unfinished.values() if part]
            print("\n".join(program.lines + open_lines), file=sys.stderr)


def run(*command):
    result = subprocess.run(command, cwd=ROOT, check=False)
    if result.returncode != 0:
        raise Failure(f"`{' '.join(map(str, command))}` failed")


def target_dir():
    metadata = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version", "1"], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    return Path(json.loads(metadata.stdout)["target_directory"]) / "debug"


def install_library(target, prefix):
    """Copies the library as a package would install it: under its file name and under its soname."""
    library = prefix / "lib" / "libpeerchat.so"
    library.parent.mkdir()
    shutil.copy(target / "libpeerchat.so", library)
    dynamic = subprocess.run(["readelf", "-d", library], check=True, stdout=subprocess.PIPE, text=True).stdout
    soname = re.search(r"\(SONAME\).*\[(.+)\]", dynamic)
    if soname and soname[1] != library.name:
        (library.parent / soname[1]).symlink_to(library.name)
    return library


def compile_c(source, library):
    """Compiles a program against the installed library, beside it."""
    program = library.parent.parent / Path(source).stem
    run("gcc", "-std=c99", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1",
        f"-I{ROOT / 'include'}", "-o", program, ROOT / source,
        f"-L{library.parent}", "-lpeerchat", f"-Wl,-rpath,{library.parent}")
    return program


def start_node(stage, peerchat):
    node = stage.add(Program.on_pipes("node", [peerchat, "node", "--memory", "--bind", "127.0.0.1:0"]))
    stage.wait("the bootstrap node listens", READY_SECONDS, lambda: node.lines)
    listening = re.fullmatch(r"listening on (\S+) key \S+", node.lines[0])
    if not listening:
        raise Failure("the first line of the bootstrap node does not say where it listens")
    print(f"bootstrap node: {listening[1]}")
    return listening[1]
