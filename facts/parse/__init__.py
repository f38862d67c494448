"""Pure parsers: the output of tools in, frozen dataclasses out.

Nothing here runs a command or imports pyinfra. Bytes, seconds, watts, degrees Celsius and bits per second
throughout; the unit is in the field's name. A value that the source does not give ("N/A", a missing field) is
None, never 0. Every error is a `ValueError` that says what was read and what is wrong with it.
"""
