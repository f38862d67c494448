"""The depot: hands the runtime and the weights of the control node to the compute nodes."""
