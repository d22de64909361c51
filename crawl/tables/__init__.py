"""Tables of (URL, text), as LAION, DataComp, img2dataset and the Conceptual Captions publish them.

Rows in are rows out and rows counted with a reason, whatever the bytes.
"""
