"""What is measured: a load whose answers are checked, the faults it has to bear, what is seen meanwhile, the report."""
