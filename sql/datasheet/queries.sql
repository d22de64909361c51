-- The queries of each source: how many, matched, with pairs, and with more candidates than their cap.
-- $cap: of the queries whose language has none of its own
SELECT source, count(*) AS queries, count(*) FILTER (WHERE candidate_count > 0) AS matched,
       count(*) FILTER (WHERE kept_count > 0) AS with_pairs,
       count(*) FILTER (WHERE candidate_count > coalesce(cap, $cap)) AS over_cap
FROM queries LEFT JOIN caps USING (language) GROUP BY source ORDER BY source
