-- Images that the archives name in several sizes or formats of one address, by the form of the address alone.
-- column url_group: The address without what makes variants of one image.
-- column variants: How many addresses the image has.
-- column one: The first of them.
-- column another: The last of them.
WITH several AS (
    -- by hashes first, which need a tenth of the room
    SELECT hash(url_group) AS found FROM candidates GROUP BY found HAVING min(hash(url)) <> max(hash(url))
)
SELECT url_group, count(DISTINCT url) AS variants, min(url) AS one, max(url) AS another
FROM candidates WHERE hash(url_group) IN (SELECT found FROM several)
GROUP BY url_group
HAVING count(DISTINCT url) > 1
ORDER BY variants DESC, url_group
LIMIT 100
