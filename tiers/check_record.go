package tiers

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// CheckRecord decodes a record and, where sane is not nil, asks whether what it says can be.
// ok is false where it cannot: then that is reported, as about, unless the record was
// replaced meanwhile.
func CheckRecord[T any](ctx context.Context, c *Checking, record Record, about Finding, sane func(T) error) (v T, ok bool, err error) {
	for range checkTries {
		v, wrong := Decode[T](record)
		if wrong == nil && sane != nil {
			wrong = sane(v)
		}
		if wrong == nil {
			return v, true, nil
		}
		again, err := c.Get(ctx, record.Key)
		if err != nil || again[0].Revision == 0 {
			return v, false, err
		}
		if again[0].Revision == record.Revision {
			about.Kind, about.Severity, about.Key = KindRecordInvalid, Fault, record.Key
			about.Message = fmt.Sprintf("the record cannot be read (%v): whatever needs it fails", shortened(wrong.Error()))
			if about.Remedy == "" {
				about.Remedy = "etcdctl get --hex " + record.Key + "   # and restore it from a backup of the catalog, under the key prefix that the configuration sets"
			}
			return v, false, c.Found(ctx, about, nil)
		}
		record = again[0]
	}
	return v, false, nil // it is being written all the time, and so read
}

// shortened cuts what a library says of a record down to what a report has room for.
func shortened(text string) string {
	const most = 300
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

// decodes is CheckRecord of a family whose records matter to nothing but their readers.
func decodes[T any](ctx context.Context, c *Checking, page []Record, about Finding) error {
	for _, record := range page {
		if _, _, err := CheckRecord[T](ctx, c, record, about, nil); err != nil {
			return err
		}
	}
	return nil
}

var errKey = errors.New("its key does not read as one of its family")

// badKey reports a record whose key says nothing.
func (c *Checking) badKey(ctx context.Context, record Record, about Finding) error {
	_, _, err := CheckRecord(ctx, c, record, about, func(any) error { return errKey })
	return err
}

// cutKey reads <repo>@<digest>, with /<rest> behind it or not.
func cutKey(name string) (repo string, d digest.Digest, rest string, ok bool) {
	repo, name, ok = strings.Cut(name, "@")
	if !ok {
		return "", "", "", false
	}
	text, rest, _ := strings.Cut(name, "/")
	d, err := oci.ParseDigest(text)
	return repo, d, rest, err == nil
}

func saneBlob(b blobRecord) error {
	if b.Key == "" || b.Size < 0 {
		return fmt.Errorf("it names the object %q of %d bytes", b.Key, b.Size)
	}
	return nil
}

func saneManifest(m ManifestRecord) error {
	if !oci.IsManifest(m.MediaType) {
		return fmt.Errorf("media type %q is none of a manifest", m.MediaType)
	}
	if m.Subject == "" {
		return nil
	}
	_, err := oci.ParseDigest(m.Subject.String())
	return err
}

func saneTag(t TagRecord) error {
	_, err := oci.ParseDigest(t.Digest.String())
	return err
}

func saneLink(l LinkRecord) error {
	if l.Size < 0 {
		return fmt.Errorf("it is of %d bytes", l.Size)
	}
	return nil
}

// checkEvents reads the events that are not sealed yet.
func (c *Checking) checkEvents(ctx context.Context) error {
	return c.Records(ctx, "events", prefixEvent, func(page []Record) error {
		for _, record := range page {
			about := Finding{Invariant: "I6", Remedy: "restore it from a backup of the catalog: the ledger cannot tell what it told"}
			_, _, err := CheckRecord(ctx, c, record, about, func(e Event) error {
				if prefixEvent+e.ID != record.Key || e.Type == "" {
					return fmt.Errorf("it says of itself that it is event %q of type %q", e.ID, e.Type)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}
