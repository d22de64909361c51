-- Source files that could not be read to their end, or lost records: which, why, and how much of them.
-- column file: The source file.
-- column type: What it is by its first bytes: warc, wat, arc, table or unknown.
-- column records: Records, or rows of a table.
-- column candidates: How many candidates.
-- column damaged_records: Records that could not be read.
-- column lost_bytes: Bytes that no record could be read from.
-- column error: Why the file could not be read to its end; null if it could.
SELECT file, type, records, candidates, damaged_records, lost_bytes, error
FROM sources
WHERE error IS NOT NULL OR damaged_records > 0 OR lost_bytes > 0
ORDER BY file
