-- What a host gave, in one row: candidates, pairs in the dataset, why the others were dropped, the commonest first,
-- and its image addresses that are most like one.
-- $host: the host; $url: the address; $near: how many addresses; $reasons: how many reasons
WITH given AS MATERIALIZED (
    SELECT partition, row, url, pair_id FROM _candidates WHERE host = $host
), verdicts AS (
    SELECT reason FROM _candidates_verdicts SEMI JOIN given USING (partition, row)
    UNION ALL
    SELECT reason FROM _pairs_verdicts
    SEMI JOIN (SELECT partition, row FROM _pairs WHERE host = $host) USING (partition, row)
), reasons AS (
    SELECT reason, count(*) AS count FROM verdicts GROUP BY reason ORDER BY count DESC, reason LIMIT $reasons
), near AS (
    SELECT url FROM (SELECT DISTINCT url FROM given) ORDER BY jaro_winkler_similarity(url, $url) DESC, url LIMIT $near
)
SELECT (SELECT count(*) FROM given) AS candidates,
       (SELECT count(*) FROM given SEMI JOIN _samples USING (pair_id)) AS pairs,
       (SELECT coalesce(list({'reason': reason, 'count': count} ORDER BY count DESC, reason), []) FROM reasons) AS reasons,
       (SELECT coalesce(list(url ORDER BY jaro_winkler_similarity(url, $url) DESC, url), []) FROM near) AS near
