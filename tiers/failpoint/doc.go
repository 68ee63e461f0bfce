// Package failpoint stands between a registry and its stores in the binary that tests/faults
// builds, and in no other: before and after every call of S3 and every transaction it can
// kill the process, pause it, or report a call as lost that was applied, was not, or will
// be only later.
//
// cmd imports it in a file with the build tag "faults" alone, so nothing of it is in a
// release; tests/layout holds that.
package failpoint
