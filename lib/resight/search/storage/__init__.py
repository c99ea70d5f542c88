"""The offline diffusion as files that every worker and reader maps into memory."""
