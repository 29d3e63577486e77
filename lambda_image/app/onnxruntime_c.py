"""onnxruntime's C API through ctypes: the same library and answers as its Python package, without importing numpy.

Refuses to guess: where the library is missing or of another release than the table of functions is for, the plain path
(`onnxruntime_python`) takes over, and one line of the log says so.
"""

import ctypes
import os
import sys
from ctypes import byref, c_char_p, c_float, c_int, c_int64, c_size_t, c_void_p
from importlib import import_module

RELEASE = "1.32."
API_VERSION = 32

# Place in the struct OrtApi (onnxruntime_c_api.h, which only ever grows) and argument types.
FUNCTIONS = {
    "GetErrorMessage": (2, c_void_p),
    "CreateEnv": (3, c_int, c_char_p, c_void_p),
    "CreateSession": (7, c_void_p, c_char_p, c_void_p, c_void_p),
    "Run": (9, c_void_p, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, c_void_p),
    "CreateSessionOptions": (10, c_void_p),
    "DisableCpuMemArena": (19, c_void_p),
    "SetSessionGraphOptimizationLevel": (23, c_void_p, c_int),
    "SetIntraOpNumThreads": (24, c_void_p, c_int),
    "SetInterOpNumThreads": (25, c_void_p, c_int),
    "SessionGetInputCount": (30, c_void_p, c_void_p),
    "SessionGetInputName": (36, c_void_p, c_size_t, c_void_p, c_void_p),
    "SessionGetOutputName": (37, c_void_p, c_size_t, c_void_p, c_void_p),
    "CreateTensorWithDataAsOrtValue": (49, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, c_int, c_void_p),
    "CreateCpuMemoryInfo": (69, c_int, c_int, c_void_p),
    "AllocatorFree": (76, c_void_p, c_void_p),
    "GetAllocatorWithDefaultOptions": (78, c_void_p),
    "ReleaseStatus": (93, c_void_p),
    "ReleaseValue": (96, c_void_p),
    "ReleaseSessionOptions": (100, c_void_p),
    "AddSessionConfigEntry": (130, c_void_p, c_char_p, c_char_p),
}
RESULTS = {"GetErrorMessage": c_char_p, "ReleaseStatus": None, "ReleaseValue": None, "ReleaseSessionOptions": None}
LOG_NOTHING, ARENA_ALLOCATOR, DEFAULT_MEMORY = 4, 1, 0
OPTIMIZE_NOTHING, OPTIMIZE_ALL = 0, 99
TENSOR_KINDS = {c_float: 1, c_int64: 7}


class OrtError(Exception):
    """A call of the C API failed; the message is onnxruntime's own."""


class _Base(ctypes.Structure):
    _fields_ = (
        ("GetApi", ctypes.CFUNCTYPE(c_void_p, ctypes.c_uint32)),
        ("GetVersionString", ctypes.CFUNCTYPE(c_char_p)),
    )


class _Api:
    """The table's functions by name."""

    def __init__(self, address):
        table = (c_void_p * (1 + max(place for place, *_ in FUNCTIONS.values()))).from_address(address)
        for name, (place, *arguments) in FUNCTIONS.items():
            function = ctypes.CFUNCTYPE(RESULTS.get(name, c_void_p), *arguments)(table[place])
            setattr(self, name, function if name in RESULTS else self._checked(function))

    def _checked(self, function):
        """`function` raising `OrtError` for a status, which it releases."""

        def call(*arguments):
            status = function(*arguments)
            if status:
                message = self.GetErrorMessage(status).decode(errors="replace")
                self.ReleaseStatus(status)
                raise OrtError(message)

        return call

    def make(self, function, *arguments, kind=c_void_p):
        """What `function` leaves in its last argument."""
        made = kind()
        function(*arguments, byref(made))
        return made


def load(folder, manifest, threads):
    """The function from one text's token ids to its logits, both lists; raises `OrtError`."""
    api = _find_api()
    if api is None:
        print("onnxruntime's C library is missing or of another release: its Python package answers instead")
        return import_module(".onnxruntime_python", __package__).load(folder, manifest, threads)
    environment = api.make(api.CreateEnv, LOG_NOTHING, b"app")
    options = _options(api, manifest, threads)
    path = os.fsencode(os.path.join(folder, "model.onnx"))
    session = api.make(api.CreateSession, environment, path, options)
    api.ReleaseSessionOptions(options)
    return _runner(api, session, len(manifest["model"]["labels"]))


def _find_api():
    """The functions of the library in onnxruntime's own folder on the path, found without importing the package."""
    for folder in sys.path:
        folder = os.path.join(folder, "onnxruntime", "capi")
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            if name.startswith(f"libonnxruntime.so.{RELEASE}"):
                return _open(os.path.join(folder, name))
    return None


def _open(path):
    """The functions of the library at `path`, None if it is not of the release that its name says."""
    library = ctypes.CDLL(path)
    library.OrtGetApiBase.restype = ctypes.POINTER(_Base)
    base = library.OrtGetApiBase().contents
    address = base.GetApi(API_VERSION)
    return _Api(address) if address and base.GetVersionString().startswith(RELEASE.encode()) else None


def _options(api, manifest, threads):
    runtime, options = manifest["recipe"]["runtime"], api.make(api.CreateSessionOptions)
    level = OPTIMIZE_ALL if manifest["optimize_at_load"] else OPTIMIZE_NOTHING
    api.SetSessionGraphOptimizationLevel(options, level)
    api.SetIntraOpNumThreads(options, threads)
    api.SetInterOpNumThreads(options, 1)
    if not runtime["arena"]:
        api.DisableCpuMemArena(options)
    api.AddSessionConfigEntry(options, b"session.intra_op.allow_spinning", b"%d" % runtime["spinning"])
    api.AddSessionConfigEntry(options, b"session.disable_prepacking", b"%d" % (not runtime["prepacking"]))
    return options


def _runner(api, session, labels):
    """The function from ids to logits; inputs are made in the order in which the graph names them."""
    allocator = api.make(api.GetAllocatorWithDefaultOptions)
    memory = api.make(api.CreateCpuMemoryInfo, ARENA_ALLOCATOR, DEFAULT_MEMORY)
    count = api.make(api.SessionGetInputCount, session, kind=c_size_t).value
    names = [_name(api, api.SessionGetInputName, session, place, allocator) for place in range(count)]
    inputs = (c_char_p * count)(*names)
    outputs = (c_char_p * 1)(_name(api, api.SessionGetOutputName, session, 0, allocator))

    def run(ids):
        rows = {b"input_ids": ids, b"attention_mask": [1] * len(ids), b"token_type_ids": [0] * len(ids)}
        given = [(c_int64 * len(ids))(*rows[name]) for name in names]
        logits = (c_float * labels)()
        values = [_tensor(api, memory, row) for row in (*given, logits)]
        try:
            fed, answer = (c_void_p * count)(*values[:-1]), (c_void_p * 1)(values[-1])
            api.Run(session, None, inputs, fed, count, outputs, 1, answer)
        finally:
            for value in values:
                api.ReleaseValue(value)
        return list(logits)

    return run


def _name(api, function, session, place, allocator):
    """A name of the session's, copied; onnxruntime's own copy is freed."""
    address = api.make(function, session, place, allocator)
    name = ctypes.string_at(address)
    api.AllocatorFree(allocator, address)
    return name


def _tensor(api, memory, row):
    """A tensor of shape (1, n) over the bytes of the ctypes array `row`, which must outlive it."""
    shape = (c_int64 * 2)(1, len(row))
    kind = TENSOR_KINDS[row._type_]
    value = api.make(api.CreateTensorWithDataAsOrtValue, memory, row, ctypes.sizeof(row), shape, 2, kind)
    return value.value
