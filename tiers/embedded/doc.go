// Package embedded runs a real etcd and a real S3 server inside this process, for whoever
// names no other: one data directory, no set-up, and the same storage path as a cluster.
//
// etcd listens on a socket file that only the owner may use, for clients and peers alike;
// the S3 server listens on a loopback port of its own choosing and knows one account, whose
// credentials are made at the first start. So no other user of the machine writes past the
// registry. What either server acknowledges survives a power cut: etcd syncs its log by
// itself, and the S3 server's storage is wrapped so that it syncs too.
//
// The S3 server works with paths relative to the working directory of the process, so
// Start changes it and Close changes it back; callers make their own paths absolute first.
// For the same reason there is one at a time in a process. The package refuses a data
// directory that another process uses, and a file system without extended attributes, in
// which the S3 server keeps what it knows of an object.
package embedded
