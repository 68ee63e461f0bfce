// Package workload is what clients do to a registry, and what they may rely on afterwards:
// a journal, kept outside of all processes that are killed, of what was acknowledged and of
// what nobody knows. Clients ask any replica anything: an upload that began at one goes on
// at another.
//
// A request may fail: with a 5xx, with 429, or without an answer. A refusal, another 4xx,
// has to be justified by what the journal says may be so; one that is not is a violation,
// as is a wrong byte in a manifest, or content that nobody may see.
package workload
