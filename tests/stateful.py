"""A module with the lazy singletons that people write, and their locked twins."""

import functools
import threading

_instance = None
_locked_instance = None
_lock = threading.Lock()
_made = {}
by_name = {"a": 1}
ALSO = by_name


def instance():
    global _instance
    if _instance is None:
        _instance = object()
    return _instance


def locked_instance():
    global _locked_instance
    if _locked_instance is None:
        with _lock:
            if _locked_instance is None:
                _locked_instance = object()
    return _locked_instance


def absent():
    if "late" not in globals():
        globals()["late"] = object()
    return globals()["late"]


def made(key="k"):
    if key not in _made:
        _made[key] = object()
    return _made[key]


def locked_made(key="k"):
    with _lock:
        if key not in _made:
            _made[key] = object()
        return _made[key]


class Lazy:
    _it = None
    _locked = None

    @classmethod
    def get(cls):
        if cls._it is None:
            cls._it = cls()
        return cls._it

    @classmethod
    def get_locked(cls):
        with _lock:
            if cls._locked is None:
                cls._locked = cls()
            return cls._locked


class Settings:
    @property
    def value(self):
        if not hasattr(self, "_value"):
            self._value = object()
        return self._value

    @property
    def locked_value(self):
        with _lock:
            return self.value


settings = Settings()


@functools.cache
def compute():
    return with_state()


calls = 0


def with_state():
    global calls
    calls += 1
    return calls


def counted(seen=[]):  # noqa: B006  # that is the point
    seen.append(1)
    return len(seen)


RACY = {
    "global": instance,
    "absent": absent,
    "dictionary": made,
    "class attribute": Lazy.get,
    "object of a module": lambda: settings.value,
}
SAFE = {
    "global": locked_instance,
    "dictionary": locked_made,
    "class attribute": Lazy.get_locked,
    "object of a module": lambda: settings.locked_value,
}
