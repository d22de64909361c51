-- The pair partition of each URL: by its host's hash, and in a host with lanes by its own, so that the pairs of a URL
-- always meet. Fifteen hexadecimal digits are 60 bits, which a BIGINT holds.
-- Tables: urls (url, host, n), lanes (host, lanes), config (partitions).
SELECT ((('0x' || md5(host)[1:15])::BIGINT + CASE WHEN lanes > 1 THEN ('0x' || md5(url)[1:15])::BIGINT % lanes ELSE 0 END)
        % partitions)::BIGINT AS partition
FROM urls LEFT JOIN lanes USING (host), config
ORDER BY n
