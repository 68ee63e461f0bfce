// Package pulls records who pulled what: which principal got which manifest of which tier,
// when first and last, and how often. So whoever finds that something is bad can say who
// has it.
//
// A pull costs a look into a map. Each replica counts in memory, bounded by MaxRows and
// MaxBytes, and writes what it has counted every interval: one object in the bucket of a
// tier, and one record in the catalog that names it. A replica that crashes loses what it
// has counted since; a store in trouble slows no pull, and what does not fit meanwhile is
// dropped and counted.
//
// # What is stored
//
// A segment is an object like any other: announced before its first byte, named by the
// record of its digest, and kept by a reference, so collections and checks know it.
//
//	pulls/<day>/<level>/<ulid>                            what a segment holds: segmentRecord
//	store/<store>/ref/<digest>/.pulls/<day>/<level>/<ulid>   the segment needs these bytes
//
// Its bytes are rows of JSON, one a line and in their order, under gzip. The record says
// from when to when they are, and bears a Bloom filter over their digests.
//
// Segments are never changed. Small ones of a day become a larger one of the next level, in
// one transaction that takes the records of the small ones away: every pull is in one segment
// at any time. Of a day that is over few are left, each of FullRows rows or more but for one.
// So who pulled a digest is found by as many reads as there are days on which it seems to
// have been pulled. A record whose time is over goes with its reference, and the next
// collection takes the bytes.
//
// Pulls are no changes of state: they leave no event.
package pulls
