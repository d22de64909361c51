"""From the bytes of an archive or a record as they lie to plain ones: gzip members, content encodings, streams."""
