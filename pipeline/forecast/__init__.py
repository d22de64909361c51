"""What a build costs, before it runs: `wit plan`."""
