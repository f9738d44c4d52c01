"""What people start in containers: the image, the compose file, the Kubernetes manifests."""
