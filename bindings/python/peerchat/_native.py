"""Loads the generated module, and through it the library."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

#: Names the library's file, or the directory that it is in.
LIBRARY_VARIABLE = "PEERCHAT_LIBRARY"

_HERE = Path(__file__).resolve().parent


def _library_name() -> str:
    # As the generated module spells it.
    if sys.platform == "darwin":
        return "libpeerchat.dylib"
    return "peerchat.dll" if sys.platform.startswith("win") else "libpeerchat.so"


def _generated_dir() -> Path:
    """Inside the package when it is installed, beside it in the source tree."""
    return next((path for path in (_HERE / "generated", _HERE.parent / "generated") if path.is_dir()), _HERE)


def _library(generated: Path) -> Path:
    name = _library_name()
    path = Path(os.environ.get(LIBRARY_VARIABLE) or generated).resolve()
    if path.is_dir():
        path = path / name
    if path.name != name or not path.is_file():
        raise ImportError(
            f"the peerchat library is not at {path}: build it, and set {LIBRARY_VARIABLE} to {name} "
            "or to the directory that it is in"
        )
    return path


def _load() -> ModuleType:
    generated = _generated_dir()
    spec = importlib.util.spec_from_file_location("peerchat._generated", generated / "peerchat.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"the generated module is not in {generated}")
    module = importlib.util.module_from_spec(spec)
    # The generated module looks for the library in the directory of its own `__file__`, and nowhere else.
    module.__file__ = str(_library(generated).with_name("peerchat.py"))
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module


#: The generated module. It has no types that a strict checker accepts, hence `Any`.
native: Any = _load()
