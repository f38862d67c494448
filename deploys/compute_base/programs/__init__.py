"""Programs that every node has: build and copy the runtime, wait for the cluster, start Ray and keep it together."""
