-- Texts that stand on more than one image of the dataset, with how many.
SELECT text, count(*) AS pairs, count(DISTINCT sha256) AS images
FROM pairs
GROUP BY text
HAVING count(*) > 1
ORDER BY pairs DESC, text
LIMIT 100
