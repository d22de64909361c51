-- Images that the archives name in several sizes or formats of one address, by the form of the address alone.
-- column url_group: The address without what makes variants of one image.
-- column variants: How many addresses the image has.
-- column one: The first of them.
-- column another: The last of them.
SELECT url_group, count(DISTINCT url) AS variants, min(url) AS one, max(url) AS another
FROM candidates
GROUP BY url_group
HAVING count(DISTINCT url) > 1
ORDER BY variants DESC, url_group
LIMIT 100
