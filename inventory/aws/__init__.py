"""What the AWS readers and revokers share: the connection, and the reading calls to IAM."""
