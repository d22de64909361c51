-- Rows that disappeared or came from nowhere: every row of the answer is a violation; a sound dataset answers none.
-- Each stage's input must be what the stage before it kept, kept + dropped must be its input, its verdicts must be as
-- many as it dropped, no row may have two verdicts, and what the last stage kept must be in the shards.
-- column stage: The stage.
-- column violation: What does not hold.
-- column expected: The number that there should be.
-- column found: The number that there is.
WITH steps AS (
    SELECT *, row_number() OVER () AS step FROM funnel
), dropped_rows AS (
    -- by the candidate that each row is, whose key is one number
    SELECT stage, partition * 4294967296 + row AS candidate FROM _candidates_verdicts
    UNION ALL
    SELECT stage, candidate_partition * 4294967296 + candidate_row
    FROM _pairs_verdicts JOIN _pairs USING (partition, row)
), verdicts AS (
    SELECT stage, count(*) AS verdicts, count(DISTINCT candidate) AS distinct_rows FROM dropped_rows GROUP BY stage
), chained AS (
    SELECT steps.*, lag(kept) OVER (ORDER BY step) AS expected, lag(stage) OVER (ORDER BY step) AS before,
           coalesce(verdicts, 0) AS verdicts, coalesce(distinct_rows, 0) AS distinct_rows
    FROM steps LEFT JOIN verdicts USING (stage)
)
SELECT stage, 'the stage before (' || before || ') kept another number of rows' AS violation,
       expected AS expected, input AS found
FROM chained WHERE input <> expected
UNION ALL
SELECT stage, 'kept + dropped is not the input', input, kept + dropped FROM chained WHERE kept + dropped <> input
UNION ALL
SELECT stage, 'not one verdict for each row dropped', dropped, verdicts FROM chained WHERE dropped <> verdicts
UNION ALL
SELECT stage, 'a row has two verdicts of one stage', verdicts, distinct_rows FROM chained WHERE verdicts <> distinct_rows
UNION ALL
SELECT 'extract', 'the view candidates has another number of rows', kept, (SELECT count(*) FROM candidates)
FROM steps WHERE stage = 'extract' AND kept <> (SELECT count(*) FROM candidates)
UNION ALL
SELECT 'extract', 'the view sources counts another number of candidates', (SELECT count(*) FROM candidates), counted
FROM (SELECT coalesce(sum(candidates), 0) AS counted FROM sources) WHERE counted <> (SELECT count(*) FROM candidates)
UNION ALL
SELECT any_value(stage), 'a row was dropped by two stages', 1, count(*)
FROM dropped_rows GROUP BY candidate HAVING count(*) > 1
UNION ALL
SELECT stage, 'a verdict is on a row that there is not', rows, last + 1 FROM (
    SELECT stage, partition, max(row) AS last FROM _candidates_verdicts GROUP BY stage, partition
) LEFT JOIN (SELECT partition, count(*) AS rows FROM _candidates GROUP BY partition) USING (partition)
WHERE last >= coalesce(rows, 0)
UNION ALL
SELECT 'pack', 'the view pairs has another number of rows', kept, (SELECT count(*) FROM pairs)
FROM steps WHERE stage = 'pack' AND kept <> (SELECT count(*) FROM pairs)
UNION ALL
SELECT 'pack', 'a pair is in the shards twice', 1, count(*) FROM pairs GROUP BY pair_id HAVING count(*) > 1
ORDER BY ALL
