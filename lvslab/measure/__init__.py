"""What a fault costs a client: experiments on the running lab, probed and judged."""
