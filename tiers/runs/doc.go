// Package runs keeps the long jobs of a registry that nobody has to wait for: collections of
// garbage, checks of consistency, and decisions anew of what rested on what was revoked.
//
// A run is one execution of such a job. Its record in the catalog says how far it is and how
// it ended, whatever replica is asked. At most one run of a kind goes on over all replicas:
// whoever carries it out holds a record that expires, and each write compares it. That is for
// economy alone. The record of a replica that stands still may pass to another while it still
// works, so a job must be safe beside itself.
//
// A run is not taken up where it was cut off. Whoever comes next marks it as interrupted, and
// the schedule begins a new one; a job may keep how far it is for that one by itself. The
// package does not know what the jobs do.
package runs
