// Package server is the network side of the registry: the OCI distribution API under /v2,
// the registry's own API under /api/v1, and the checks that stand before both.
//
// Handlers are thin. They read a request, ask tiers or promote, and either answer or
// return an error; errors.go alone knows what status and code an error has. The package
// refuses what a caller may not do before it reads a body or looks anything up, so a
// refusal says nothing about what exists. It stores nothing, and it does not decide what
// may rise: that is the policy's.
package server
