"""What a policy author works with: check, test and list a policy folder before it decides anything."""
