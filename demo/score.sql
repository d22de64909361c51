-- How well each filter did on the planted web.
--
-- Tables: truth (demo.site.TRUTH); dropped and pairs (the dataset's views); reasons (reason, each_occurrence: whether the
-- reason is given before pairs are counted once, so that every occurrence of a pair gets it).
--
-- `query_full` is no judgement of a pair: pairs that it took before the download are left out, whatever they were.
WITH fate AS (  -- what became of each planted (url, text), apart from its repetitions
    SELECT url, text, stage, reason, count(*) AS n FROM dropped WHERE reason <> 'duplicate_pair' GROUP BY ALL
), planted AS (
    SELECT t.*, coalesce(r.each_occurrence, false) AS each_occurrence, f.reason, coalesce(f.n, 0) AS n
    FROM truth t
    LEFT JOIN reasons r ON r.reason = t.expected
    LEFT JOIN fate f USING (url, text)
    WHERE f.reason IS DISTINCT FROM 'query_full' OR f.stage <> 'prebalance'
), single AS (
    SELECT expected AS reason,
           sum(CASE WHEN each_occurrence THEN occurrences ELSE 1 END) AS planted,
           sum(CASE WHEN reason = expected THEN least(n, CASE WHEN each_occurrence THEN occurrences ELSE 1 END) ELSE 0 END)
               AS caught
    FROM planted WHERE copy_of IS NULL AND expected <> 'keep' GROUP BY expected
), groups AS (  -- of each group of look-alikes one is to be kept, whichever
    SELECT copy_of, max(expected) FILTER (expected <> 'keep') AS reason, count(*) - 1 AS planted,
           count(*) FILTER (reason IN ('duplicate_image', 'near_duplicate_image')) AS caught
    FROM planted WHERE copy_of IS NOT NULL GROUP BY copy_of
), alike AS (
    SELECT reason, sum(planted) AS planted, sum(least(caught, planted)) AS caught
    FROM groups WHERE reason IS NOT NULL GROUP BY reason
), repetitions AS (
    SELECT t.url, t.text, t.occurrences - 1 AS planted,
           (SELECT count(*) FROM dropped d WHERE d.url = t.url AND d.text = t.text AND d.reason = 'duplicate_pair') AS caught
    FROM truth t LEFT JOIN reasons r ON r.reason = t.expected
    WHERE t.occurrences > 1 AND NOT coalesce(r.each_occurrence, false)
), repeated AS (
    SELECT 'duplicate_pair' AS reason, sum(planted) AS planted, sum(least(caught, planted)) AS caught FROM repetitions
), expected AS (
    FROM single UNION ALL FROM alike UNION ALL (FROM repeated WHERE planted > 0)
), found AS (
    SELECT reason, any_value(stage) AS stage, count(*) AS dropped FROM dropped GROUP BY reason
)
SELECT reason,
       stage,
       planted::BIGINT AS planted,
       coalesce(caught, 0)::BIGINT AS caught,
       coalesce(dropped, 0)::BIGINT AS dropped,
       CASE WHEN dropped > 0 AND planted IS NOT NULL THEN caught / dropped END AS precision,
       CASE WHEN planted > 0 THEN caught / planted END AS recall
FROM expected FULL JOIN found USING (reason)
ORDER BY reason
