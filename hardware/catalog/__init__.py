"""The parts: one file each, every number a `Figure` with the document that states it. Pure; bytes, seconds,
watts.

Memory is the nominal capacity on the box, in GiB; drivers report a little less (an RTX 5070 shows 12227
of 12288 MiB). Bandwidth is the decimal number of the datasheet. Half precision is dense: without
structured sparsity, with 32-bit accumulation where a vendor tells the two apart. "Derived" in a source
means that the vendor does not state the number itself; the source then gives the arithmetic. "As given
by" names the page that the vendor's number was read from. What nobody states stays None.
"""
