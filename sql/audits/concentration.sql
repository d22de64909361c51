-- How much of the dataset the largest hosts hold: the share of pairs and of bytes of the first 1, 10, 100, ….
-- column largest_hosts: How many of the largest hosts.
-- column hosts: How many hosts of images.
-- column share_of_pairs: Their share of all pairs.
-- column share_of_bytes: Their share of all these bytes.
WITH hosts AS (
    SELECT count(*) AS pairs, sum(size)::BIGINT AS bytes
    FROM pairs GROUP BY host
), ranked AS (
    SELECT pairs, bytes, row_number() OVER (ORDER BY pairs DESC) AS by_pairs, row_number() OVER (ORDER BY bytes DESC) AS by_bytes,
           count(*) OVER () AS hosts
    FROM hosts
)
SELECT least(top, any_value(hosts)) AS largest_hosts, any_value(hosts) AS hosts,
       round(sum(pairs) FILTER (WHERE by_pairs <= top) / sum(pairs), 4) AS share_of_pairs,
       round(sum(bytes) FILTER (WHERE by_bytes <= top) / sum(bytes), 4) AS share_of_bytes
FROM ranked, (SELECT unnest([1, 10, 100, 1000, 10000, 100000]) AS top)
GROUP BY top HAVING top < 10 * any_value(hosts) ORDER BY top
