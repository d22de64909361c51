-- Which hosts a concept's texts are from, and how many of them are in the dataset.
-- $concept = photo: whole words that the text holds, in any case; of scripts without capitals any part
-- $most = 50: how many hosts
-- column host: The host of the image's address.
-- column candidates: How many candidates.
-- column pairs: How many pairs of the dataset.
-- column example: One of their texts.
SELECT host, count(*) AS candidates, count(DISTINCT pair_id) FILTER (WHERE pair_id IN (SELECT pair_id FROM pairs)) AS pairs,
       min(text) AS example
FROM candidates WHERE contains(lower(text), lower($concept))
    AND regexp_matches(text, '(?i)(^|[^\p{Ll}\p{Lu}\p{Nd}])' || regexp_escape($concept) || '($|[^\p{Ll}\p{Lu}\p{Nd}])')
GROUP BY host ORDER BY candidates DESC, host LIMIT $most
