-- How large the dataset's images are as stored: pairs by the shorter side, in steps of 64 pixels, with their aspect.
-- column shorter_side_from: Pixels of the shorter side, from.
-- column shorter_side_to: Pixels of the shorter side, to.
-- column pairs: How many pairs of the dataset.
-- column largest_aspect: The longest image of these: its longer side over its shorter one.
SELECT least(width, height) // 64 * 64 AS shorter_side_from, least(width, height) // 64 * 64 + 63 AS shorter_side_to,
       count(*) AS pairs, round(max(greatest(width, height) / least(width, height)), 2) AS largest_aspect
FROM pairs
GROUP BY ALL
ORDER BY shorter_side_from
