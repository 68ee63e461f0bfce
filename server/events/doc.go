// Package events takes the events of a registry out to others: as CloudEvents 1.0, and by
// webhooks that deliver them, signed as Standard Webhooks has it.
//
// All comes from the sealed ledger, so an event has its index for ever, none is lost however
// long nobody listens, and each comes in order.
//
// # Webhooks
//
// A webhook is configured; how far it has come is a record of the catalog, webhook/<name>: its
// cursor is the index of the first entry that is not done with. An entry is done with when the
// receiver has answered it with 2xx, or when the webhook does not ask for it. The next is not
// sent before. So a receiver gets every entry once or more, and in order; one that it has seen
// before has the same webhook-id.
//
// One replica at a time delivers for a webhook. It holds a record that expires, delivering/<name>;
// that is for economy, and so that a receiver sees few entries twice. What keeps the cursor
// right is that each write of it compares the revision that its writer knows: a replica that
// takes over writes the record first, so whatever the former owner still writes is refused.
package events
