"""What is asked of the attacks' claims."""
