"""The index of a store's records: what thousands of small objects say, in a few that are read at once.

    index/generations/<number>.parquet   of each trial that changed: its key, what lay in the store of it, what a plan reckons from
    index/records/<token>.parquet        the records of those trials, byte by byte, in the same order
    index/newest.json                    the number of a generation; an index whose newest is older has lost some
    index/changes/<train key>.<token>    a note: this trial changes, what the index says of it no longer counts

Whoever changes a record, or what is kept of a failure, leaves a note first (`changes`). From time to time somebody reads what the
notes name and appends a generation (`append`), which only one can make of each number; then the notes go. A reader takes the notes
first and the generations after them (`generations`), compares what it takes from them with the store (`trials`), and reads
whatever is noted, differs or is not in the index from the store itself. An index is made of records alone: nothing is lost with it.
"""
