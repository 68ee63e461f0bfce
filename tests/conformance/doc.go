// Package conformance holds the registry against the OCI distribution spec v1.1 and
// against the classes of hostile and unlucky input that registries are known to get wrong.
//
// Everything here goes over the wire to a real server on real stores and looks at exact
// status and code. Requests are written byte by byte, because a client that cleans up a
// path or adds a header would test itself.
package conformance
