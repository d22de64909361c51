-- How often a concept stands in the texts: candidates and pairs by language, and how many hosts they are from.
-- $concept = photo: whole words that the text holds, in any case; of scripts without capitals any part
-- column page_language: The language that the page says it is in; empty if it does not say.
-- column candidates: How many candidates.
-- column hosts: How many hosts of images.
-- column pairs: How many pairs of the dataset.
WITH found AS (
    SELECT pair_id, coalesce(page_language, '') AS page_language, host
    FROM candidates WHERE contains(lower(text), lower($concept))
    AND regexp_matches(text, '(?i)(^|[^\p{Ll}\p{Lu}\p{Nd}])' || regexp_escape($concept) || '($|[^\p{Ll}\p{Lu}\p{Nd}])')
)
SELECT page_language, count(*) AS candidates, count(DISTINCT host) AS hosts,
       count(DISTINCT pair_id) FILTER (WHERE pair_id IN (SELECT pair_id FROM pairs)) AS pairs
FROM found GROUP BY page_language ORDER BY candidates DESC, page_language
