"""The same cluster in containers: an image and a compose file, written from an inventory as the deploys' files are.

`python -m containers` writes them; nothing here talks to an engine such as Docker or Podman.
"""
