-- Which of some images' addresses were dropped, and the least of the reasons.
-- $urls: the addresses
SELECT url, min(reason) AS reason FROM dropped WHERE url IN (SELECT unnest($urls)) GROUP BY url
