-- How long the dataset's images are against their shorter side, as stored.
-- column aspect_from: The longer side over the shorter one, from.
-- column aspect_to: The same, below.
-- column pairs: How many pairs of the dataset.
-- column share: Their share of all.
SELECT aspect_from, aspect_to, count(*) AS pairs, round(count(*) / sum(count(*)) OVER (), 4) AS share
FROM (SELECT greatest(width, height) / least(width, height) AS aspect FROM pairs WHERE least(width, height) > 0)
JOIN (VALUES (1::DOUBLE, 1.1::DOUBLE), (1.1, 1.25), (1.25, 1.5), (1.5, 2.0), (2.0, 3.0), (3.0, 5.0), (5.0, 1e9)) AS bins(aspect_from, aspect_to)
    ON aspect >= aspect_from AND aspect < aspect_to
GROUP BY ALL ORDER BY aspect_from
