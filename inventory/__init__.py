"""What is: reads the access that exists. Reads only, and never imports `reconciler`."""
