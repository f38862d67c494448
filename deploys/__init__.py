"""What changes hosts: one folder a role, each with one @deploy, its settings and its templates beside it."""
