"""placeholder"""
class Watchdog:
    def __init__(self, kernel, seconds): pass
    def __enter__(self): return self
    def __exit__(self, *a): pass
