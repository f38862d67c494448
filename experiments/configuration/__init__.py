"""What an experiment is told: YAML in layers, each value with its file and line, validated before anything runs."""
