-- Texts that stand on more than one image of the dataset, with how many.
-- column text: The caption or alt text: cleaned, personal data masked.
-- column pairs: How many pairs of the dataset.
-- column images: How many images, by their addresses.
SELECT text, count(*) AS pairs, count(DISTINCT sha256) AS images
FROM pairs
GROUP BY text
HAVING count(*) > 1
ORDER BY pairs DESC, text
LIMIT 100
