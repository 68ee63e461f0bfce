// Package clients runs the registry clients that people have, docker, podman, buildah,
// skopeo, crane, oras, regctl, cosign, notation, helm and in-toto, against a server under
// test, each with a home of its own.
//
// The programs are the ones that `make setup` puts in place. Where one is missing the test
// fails and says so; a client that is not there must not look like one that agrees. The
// package knows nothing of the server: it is given references and files.
package clients
