// Command sluice is the registry and its client in one binary, a file a verb.
//
// It is the only place where stores, registry, gate, server and pages are wired to each
// other. main only calls run; what a verb does stands in the file of its name. The verbs
// of the client speak to a server over HTTP alone and never open its stores.
package main
