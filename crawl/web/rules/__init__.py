"""What a site's owner asks, where its server says it: robots.txt, ai.txt, TDMRep, licenses and headers."""
