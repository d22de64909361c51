-- One hop: where the addresses lead that wanted urls have led to so far, unless an archive holds an image there. Of
-- what is said of an address the first counts. The image found in the end is that of another address where a redirect
-- led there, of its own where a revisit names an earlier capture.
-- Tables: asked (url, host, at, final_url), images (url), leads (url, target, target_host, is_redirect) in the order
-- of the archives.
WITH first AS (
    SELECT * FROM (SELECT *, row_number() OVER () AS n FROM leads)
    QUALIFY row_number() OVER (PARTITION BY url ORDER BY n) = 1
)
SELECT DISTINCT asked.url, asked.host, target AS "at", target_host AS at_host,
       CASE WHEN is_redirect THEN target ELSE final_url END AS final_url
FROM asked ANTI JOIN images ON asked."at" = images.url JOIN first ON asked."at" = first.url
ORDER BY asked.url
