-- The largest of the images' shorter sides, in pixels, 0 without images: one row.
SELECT coalesce(max(least(width, height)), 0) AS side FROM pairs
