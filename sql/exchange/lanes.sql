-- Hosts that hold more pairs than a partition should, and over how many partitions each is spread.
-- Tables: hosts (host, count_all), config (pairs_per_partition).
SELECT host, ceil(sum(count_all) / any_value(pairs_per_partition))::INTEGER AS lanes
FROM hosts, config
GROUP BY host
HAVING sum(count_all) > any_value(pairs_per_partition)
ORDER BY host
