// Package s3proxy is a reverse proxy in front of an S3 server that misbehaves as stores do:
// it is slow, answers errors, breaks connections, loses answers to what was done, says 200
// over an error, and sends fewer or other bytes than there are. It counts what it did, and
// remembers what was written, so that a test can ask whether any key was written twice.
//
// Requests go on as they came, with their Host and path, so signatures stay valid.
package s3proxy
