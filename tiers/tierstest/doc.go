// Package tierstest holds the suites that every adapter of the interfaces of package tiers
// passes: what the comments of those interfaces promise, as tests.
//
// It brings no stores of its own; an adapter's tests hand it a real one. It tests what
// callers rely on and refuses to look behind the interface.
package tierstest
