"""The read side: one immutable view per service, swapped whole; any thread reads, no lock.

The bus thread is the only writer (`Catalogue.apply`). A reader takes one reference per call and works on what it
took, so it never waits and never sees half of a change.
"""
