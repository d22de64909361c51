-- The hosts that most pairs' images are from; `hosts` is how many there are in all.
-- $most: how many
SELECT host, count(*) AS pairs,
       round(100.0 * count(*) / sum(count(*)) OVER (), 2) AS percent_of_pairs, count(*) OVER () AS hosts
FROM pairs GROUP BY host ORDER BY pairs DESC, host LIMIT $most
