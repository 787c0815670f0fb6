"""Reads what files say, in a process of its own with limits on memory and time: nobody knows what is in them.

`process.py` starts that process, which is `__main__.py`; there is a module for each kind of file. No Django in here: an
import of it would take longer than most files.
"""
