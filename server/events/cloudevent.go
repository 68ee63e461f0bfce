package events

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/oklog/ulid/v2"

	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
)

// ContentType is that of an event on its own: CloudEvents in structured mode.
const ContentType = "application/cloudevents+json; charset=utf-8"

// typePrefix stands before the types of events in CloudEvents.
const typePrefix = "dev.sluice."

// typeUnreadable is the type of an entry that is no event. The ledger seals what was recorded,
// whatever it is, and nothing that it holds is left out.
const typeUnreadable = tiers.EventType("ledger.unreadable")

// Event is an entry of the ledger with what it says.
type Event struct {
	ledger.Entry
	tiers.Event
	readable bool
}

// Read reads an entry.
func Read(e ledger.Entry) Event {
	event, err := tiers.Decode[tiers.Event](tiers.Record{Key: "ledger entry", Value: e.Event})
	if err != nil {
		return Event{Entry: e, Event: tiers.Event{Type: typeUnreadable}}
	}
	return Event{Entry: e, Event: event, readable: true}
}

// cloudEvent is an event in the JSON format of CloudEvents 1.0.
type cloudEvent struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject,omitempty"`
	Time            *time.Time      `json:"time,omitempty"`
	DataContentType string          `json:"datacontenttype"`
	Data            json.RawMessage `json:"data,omitempty"`
	DataBase64      []byte          `json:"data_base64,omitempty"`
}

// CloudEvent renders the event in the JSON format of CloudEvents 1.0, on one line. Its id is
// the index in the ledger; source says of which registry. Its data is the event as the ledger
// has it; of an entry that is no event it is the bytes themselves.
func (e Event) CloudEvent(source string) ([]byte, error) {
	c := cloudEvent{
		SpecVersion: "1.0", ID: strconv.FormatInt(e.Index, 10), Source: source,
		Type: typePrefix + string(e.Type), Subject: e.subject(),
	}
	if e.readable {
		c.Time, c.DataContentType, c.Data = &e.Time, "application/json", e.Entry.Event
	} else {
		c.DataContentType, c.DataBase64 = "application/octet-stream", e.Value
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // the data is as the ledger has it
	if err := enc.Encode(c); err != nil {
		return nil, fmt.Errorf("entry %d as a CloudEvent: %w", e.Index, err)
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// subject is what the event is about: <tier>/<repository>, with the tag or the digest where
// it is about one.
func (e Event) subject() string {
	subject := e.Tier
	if e.Repository == "" {
		return subject
	}
	subject += "/" + e.Repository
	switch {
	case e.Tag != "":
		subject += ":" + e.Tag
	case e.Digest != "":
		subject += "@" + e.Digest.String()
	}
	return subject
}

// messageID is the webhook-id of an event: the same however often it is sent, another for
// every other event of any registry, and without a full stop, as Standard Webhooks asks.
func (e Event) messageID() string {
	if id, err := ulid.ParseStrict(e.ID); e.readable && err == nil {
		return id.String()
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d\n%s", e.Index, e.Value))
	return "entry_" + hex.EncodeToString(sum[:16])
}
