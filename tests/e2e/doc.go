// Package e2e runs the sluice binary as users run it, with embedded stores and with etcd
// and S3 servers of their own, and has real clients do the main job against it.
package e2e
