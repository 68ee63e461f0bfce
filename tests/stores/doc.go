// Package stores starts the servers that a deployment has outside its process, etcd and an
// S3 server, each a process of its own on loopback ports, for tests and benchmarks.
//
// The servers are the binaries pinned in tests/tools. Where one is missing the test fails
// and says how to make it: a test that quietly does without its servers proves nothing.
package stores
