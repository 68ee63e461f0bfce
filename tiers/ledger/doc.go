// Package ledger seals the events of a registry into a Merkle log that anyone who has a
// copy of the bucket can check: what rose, when, by whom, on what evidence.
//
// Every change of state leaves an event in the catalog, in the transaction that made it.
// The sealer gives the events their indexes, in the order in which the catalog took them,
// and writes them to a bucket in the layout of C2SP tlog-tiles, with signed checkpoints
// (https://c2sp.org/tlog-tiles, tlog-checkpoint, signed-note). Any tlog client can follow
// the log; the entries themselves name private repositories and are for auditors.
//
// # How events become entries
//
// Each step is one transaction that compares the record ledger/head, or writes objects
// whose bytes such a transaction has fixed before:
//
//  1. Assign: events get the next indexes. They move to a record ledger/batch/<first
//     index>, so an event is either waiting or has its index, for ever.
//  2. Write: the tiles that the batches lead to are put in the bucket. Whoever does it
//     writes the same bytes under the same keys.
//  3. Sign: the checkpoint of the new size is signed, and kept in the head as the next.
//  4. Publish: the bytes of that checkpoint are put in the bucket.
//  5. Seal: the head takes over the checkpoint, and the batches, which are in the bucket
//     now, go.
//
// A crash anywhere leaves the head at one of these steps, and the next sealer goes on from
// there. Two sealers cannot fork the log: the indexes of an entry come from a transaction
// that only one of them wins, and everything behind it follows from them. So what the
// catalog calls sealed can be proved from the bucket alone, and the bucket is never ahead of
// the catalog, unless the catalog was set back: then nothing is sealed.
//
// That only one replica seals at a time is economy, never safety: a replica leaves another
// that gets on alone, and takes over when it sees nothing move.
//
// # What is in the bucket
//
// All under ledger/. An object is never given other bytes than it had.
//
//	tile/<L>/<N>[.p/<W>]           256 hashes of 32 bytes, or W of them
//	tile/entries/<N>[.p/<W>]       256 entries, or W of them, each behind its length in two bytes
//	events/<hex>                   an event that is too long for an entry, by its SHA-256
//	checkpoints/<15 digits>/<20>   the checkpoint of a size; the folder is that of its first digits
//
// Partial tiles go once the tile is full, and of the checkpoints in a full tile the last one
// stays: what happened between two of them can be told apart for ever.
//
// An entry is the JSON of the event, byte for byte as it was recorded. One that has more
// than 65,535 bytes, of a policy with many keys say, is an object of its own, and the entry
// names its digest.
package ledger
