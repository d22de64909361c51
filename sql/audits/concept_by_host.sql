-- Which hosts a concept's texts are from, and how many of them are in the dataset.
-- $concept = photo: words that the text holds, in any case
-- $most = 50: how many hosts
-- column host: The host of the image's address.
-- column candidates: How many candidates.
-- column pairs: How many pairs of the dataset.
-- column example: One of their texts.
SELECT host, count(*) AS candidates, count(DISTINCT pair_id) FILTER (WHERE pair_id IN (SELECT pair_id FROM pairs)) AS pairs,
       min(text) AS example
FROM candidates WHERE contains(lower(text), lower($concept))
GROUP BY host ORDER BY candidates DESC, host LIMIT $most
