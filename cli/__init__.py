"""What the operator types: thin click commands over the deploys, the facts and the verification."""
