-- Where the pages of pairs say that their licence is, and of how many pairs nobody says.
-- column page_license: Where the page's licence is; empty if it names none.
-- column pairs: How many pairs of the dataset.
WITH found AS (
    SELECT p.pair_id, any_value(c.page_license) AS page_license
    FROM pairs p LEFT JOIN candidates c ON c.pair_id = p.pair_id GROUP BY p.pair_id
)
SELECT coalesce(page_license, '') AS page_license, count(*) AS pairs FROM found GROUP BY ALL ORDER BY pairs DESC, 1
