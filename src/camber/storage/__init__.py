"""Where documents live, as bytes and timestamps: the engines, and the stored files' bytes.

`engine` is the contract; `memory` is the reference that it is checked against, `sqlite` the one
that keeps. `blobs` holds the bytes of stored files, whose rows are ordinary documents.
"""
