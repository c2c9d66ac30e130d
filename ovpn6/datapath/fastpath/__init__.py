"""The native worker: the user-space data path in C (see docs/decisions/native-worker.md).

``datapath.py`` is the Python side. The extension is built by the package's own build; where there
was no compiler it is missing, and the Python path serves.
"""
