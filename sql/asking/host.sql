-- What a host gave, in one row: candidates, pairs in the dataset, why the others were dropped, the commonest first,
-- and its image addresses that are most like one.
-- $host: the host; $url: the address; $near: how many addresses; $reasons: how many reasons
WITH given AS MATERIALIZED (
    SELECT partition, row, url FROM _candidates WHERE host = $host
), its_pairs AS MATERIALIZED (
    SELECT partition, row FROM _pairs WHERE host = $host
), verdicts AS (
    SELECT reason FROM _candidates_verdicts SEMI JOIN given USING (partition, row)
    UNION ALL
    SELECT reason FROM _pairs_verdicts
    SEMI JOIN its_pairs USING (partition, row)
), reasons AS (
    SELECT reason, count(*) AS count FROM verdicts GROUP BY reason ORDER BY count DESC, reason LIMIT $reasons
), near AS (
    SELECT url FROM (SELECT DISTINCT url FROM given) ORDER BY jaro_winkler_similarity(url, $url) DESC, url LIMIT $near
)
SELECT (SELECT count(*) FROM given) AS candidates,
       -- whatever is not dropped is in the dataset, once it is packed
       (SELECT count(*) FROM its_pairs ANTI JOIN _pairs_verdicts USING (partition, row)
        WHERE EXISTS (SELECT 1 FROM _funnel WHERE stage = 'pack')) AS kept,
       (SELECT coalesce(list({'reason': reason, 'count': count} ORDER BY count DESC, reason), []) FROM reasons) AS reasons,
       (SELECT coalesce(list(url ORDER BY jaro_winkler_similarity(url, $url) DESC, url), []) FROM near) AS near
