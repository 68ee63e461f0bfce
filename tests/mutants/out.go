package main

import "slices"

// out is what keeps events in order and whole on their way to others.
func out() []mutant {
	return slices.Concat(in("tiers/ledger/", following()), in("server/events/", deliveries()), in("server/", streaming()))
}

// following is what who follows the ledger gets.
func following() []mutant {
	return []mutant{
		{"follow.go", "an entry is given when it is sealed", "if f.sealed.Size > index {", "if f.sealed.Size >= index {", "^TestNext"},
		{"follow.go", "a page is that of its place", "span := pageSpan{from, min(", "span := pageSpan{from / tileWidth * tileWidth, min(", "^TestNext"},
	}
}

// deliveries is what a receiver gets, and how far it is said to have come.
func deliveries() []mutant {
	return []mutant{
		{"delivery.go", "an event is done with when it was taken", "\tif answer.Error == \"\" {\n\t\td.ok.Add(1)", "\tif answer.Error != \"-\" {\n\t\td.ok.Add(1)", "^TestReceiverFails$"},
		{"delivery.go", "the cursor is as its owner knows it", "\t\tIf:  []tiers.Condition{{Key: d.cursorKey(), Revision: d.revision}},\n", "", "^TestFormerOwner$"},
		{"delivery.go", "nothing is sent before what was not taken", "\t\tif err != nil || !taken {\n", "\t\tif _ = taken; err != nil {\n", "^TestReceiverFails$"},
		{"delivery.go", "a receiver that wants nothing more", "\tif d.now.Gone {", "\tif d.now.Gone && d.now.Failures < 0 {", "^TestGone$"},
		{"delivery.go", "what is passed over is done with", "\tpassed.Next = next\n", "\tpassed.Next = next + 1\n", "^TestFilters$"},
		{"delivery.go", "who stood still sends nothing", "\tif !d.holds() { //", "\tif d.holds() && body == nil { //", "^TestWakesBeforeSending$"},
		{"owner.go", "a living owner's stays its own", "\tif records[0].Revision != 0 {\n\t\tif h, err", "\tif records[0].Revision < 0 {\n\t\tif h, err", "^TestOwnerStays$"},
		{"attempt.go", "redirects are not followed", "return http.ErrUseLastResponse", "return nil", "^TestReceiverFails$"},
		{"record.go", "a cursor ahead of the ledger", "(now.Next < 0 || now.Next > size)", "now.Next < 0", "^TestCheckWebhooks$"},
		{"webhook.go", "the signature is over the time", "mac.Write([]byte(id + \".\" + timestamp + \".\"))", "mac.Write([]byte(id + \".\"))", "^TestDeliver$"},
		{"filter.go", "what nobody can read is for who asks for all", "\tif !e.readable {\n\t\treturn ", "\tif !e.readable {\n\t\treturn true || ", "^TestUnreadable$"},
	}
}

// streaming is what who listens gets.
func streaming() []mutant {
	return []mutant{
		{"api_events.go", "a stream goes on behind what was seen", "\t\t\tindex++ // behind it\n", "\t\t\tindex += 2\n", "^TestEvents$"},
		{"api_events.go", "events are for auditors", "\tif err := s.allowAudit(c); err != nil {\n\t\treturn err\n\t}\n\tstate, err :=", "\tstate, err :=", "^TestEventsAccess$"},
		{"api_events.go", "what was passed over is not looked at", "\t\tif !t.filter.Selects(event) {\n\t\t\tcontinue\n\t\t}\n", "", "^TestEventsFilter$"},
		{"api_events.go", "a log that is not what was sealed", "case errors.Is(err, oci.ErrUnavailable):", "case err != nil:", "^TestEventsTrouble$"},
		{"server.go", "streams end with the server", "server.RegisterOnShutdown(s.streams.end)", "_ = s.streams.end", "^TestEventsEnd$"},
	}
}
