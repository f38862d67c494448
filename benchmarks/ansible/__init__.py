"""The lab's declared state for Ansible: the playbook, and the export of what it has to write."""
