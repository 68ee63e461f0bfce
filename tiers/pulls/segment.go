package pulls

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	strictjson "github.com/go-json-experiment/json"
	"github.com/oklog/ulid/v2"
	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// prefixSegment is where the records of segments stand in the catalog.
const prefixSegment = "pulls/"

// Limits of a segment. One is written with less than twice FullRows rows.
const (
	// FullRows is how many rows a segment has that is merged with no other.
	FullRows  = 20_000
	maxObject = 32 << 20  // bytes of a segment as it is stored
	maxPlain  = 256 << 20 // bytes of its rows
	maxRow    = 64 << 10  // bytes of one
)

// Levels of segments: those that replicas write, and what becomes of them.
const (
	levelWritten = 0
	levelDay     = 8 // what is left of a day that is over
	levelFull    = 9
)

// segmentRecord names a segment and says what is in it.
type segmentRecord struct {
	Store  string        `json:"store"` // the bucket's identity
	Digest digest.Digest `json:"digest"`
	Rows   int           `json:"rows"`
	First  time.Time     `json:"first"`
	Last   time.Time     `json:"last"`
	Filter filter        `json:"filter,omitempty"` // over the digests that were pulled
}

// segment is a record that was read.
type segment struct {
	segmentRecord
	record tiers.Record
}

// id is what its key and that of its reference end in.
func (s *segment) id() string { return strings.TrimPrefix(s.record.Key, prefixSegment) }

func openSegment(record tiers.Record) (*segment, error) {
	r, err := tiers.Decode[segmentRecord](record)
	return &segment{segmentRecord: r, record: record}, err
}

// dayOf is how keys tell a day, in UTC.
func dayOf(t time.Time) string { return t.UTC().Format(time.DateOnly) }

func levelPrefix(day string, level int) string {
	return prefixSegment + day + "/" + strconv.Itoa(level) + "/"
}

// splitKey reads the key of a segment.
func splitKey(key string) (day string, level int, err error) {
	parts := strings.Split(strings.TrimPrefix(key, prefixSegment), "/")
	if len(parts) != 3 {
		return "", 0, fmt.Errorf("the key %s is none of a segment", key)
	}
	level, err = strconv.Atoi(parts[1])
	if err == nil && (level < levelWritten || level > levelFull) {
		err = fmt.Errorf("there is no level %d", level)
	}
	_, err2 := time.Parse(time.DateOnly, parts[0])
	_, err3 := ulid.ParseStrict(parts[2])
	return parts[0], level, errors.Join(err, err2, err3)
}

// encode renders rows, and the record that tells of them.
func encode(all rows) (body []byte, record segmentRecord, err error) {
	sorted := all.sorted()
	var buf bytes.Buffer
	zipped := gzip.NewWriter(&buf)
	lines := json.NewEncoder(zipped)
	for i, p := range sorted {
		if i == 0 || p.First.Before(record.First) {
			record.First = p.First
		}
		if p.Last.After(record.Last) {
			record.Last = p.Last
		}
		if err := lines.Encode(p); err != nil {
			return nil, record, fmt.Errorf("render a pull: %w", err)
		}
	}
	if err := zipped.Close(); err != nil {
		return nil, record, fmt.Errorf("compress pulls: %w", err)
	}
	record.Rows, record.Filter = len(sorted), newFilter(sorted)
	record.Digest = digest.FromBytes(buf.Bytes())
	return buf.Bytes(), record, nil
}

// decode gives the rows of a segment, one after the other.
func decode(body []byte, each func(*Pull)) error {
	zipped, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: %w", oci.ErrCorrupt, err)
	}
	lines := bufio.NewScanner(io.LimitReader(zipped, maxPlain))
	lines.Buffer(make([]byte, 0, 4<<10), maxRow)
	for lines.Scan() {
		p := new(Pull)
		if err := strictjson.Unmarshal(lines.Bytes(), p); err != nil {
			return fmt.Errorf("%w: a row: %w", oci.ErrCorrupt, err)
		}
		each(p)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%w: %w", oci.ErrCorrupt, err)
	}
	return nil
}

// read gives the rows of a segment.
func (l *Log) read(ctx context.Context, s *segment, each func(*Pull)) error {
	t := l.tierOf(s.Store)
	if t == nil {
		return fmt.Errorf("%w: the pulls of %s lie in the bucket %s, which no tier has: configure it again, or delete the record %s", oci.ErrCorrupt, s.id(), s.Store, s.record.Key)
	}
	read := 0
	body, err := l.registry.Content(ctx, t, s.Digest, maxObject)
	if err == nil {
		err = decode(body, func(p *Pull) {
			read++
			each(p)
		})
	}
	if err == nil && read != s.Rows {
		err = fmt.Errorf("%w: it has %d rows, and its record says %d", oci.ErrCorrupt, read, s.Rows)
	}
	if err == nil {
		return nil
	}
	if now, again := l.catalog.Get(ctx, s.record.Key); again == nil && now[0].Revision == 0 {
		return errMerged
	}
	if errors.Is(err, oci.ErrBlobUnknown) || errors.Is(err, oci.ErrObjectUnknown) {
		err = fmt.Errorf("%w: %w", oci.ErrCorrupt, err)
	}
	return fmt.Errorf("pulls of %s: %w", s.id(), err)
}

// errMerged says that a segment has become part of another, or that its time was over.
var errMerged = fmt.Errorf("%w: the segment is no more", oci.ErrConflict)

// tierOf finds a tier by its store.
func (l *Log) tierOf(store string) *tiers.Tier {
	all := l.registry.Tiers()
	if i := slices.IndexFunc(all, func(t *tiers.Tier) bool { return t.Store() == store }); i >= 0 {
		return all[i]
	}
	return nil
}

// put writes rows as the segment id, in the place of others if they are still there. An
// error that wraps oci.ErrUnavailable leaves it open whether that was done.
func (l *Log) put(ctx context.Context, id string, all rows, former ...*segment) error {
	body, r, err := encode(all)
	if err != nil {
		return err
	}
	if len(body) > maxObject {
		return fmt.Errorf("%w: %d rows are %d bytes, more than %d", oci.ErrTooLarge, r.Rows, len(body), maxObject)
	}
	r.Store = l.tier.Store()
	staged, err := l.registry.Stage(ctx, l.tier, r.Digest, body)
	if err != nil {
		return err
	}
	key := prefixSegment + id
	change := tiers.Change{If: []tiers.Condition{tiers.Absent(key)},
		Put: []tiers.Put{{Key: key, Value: tiers.Encode(r)}, {Key: l.tier.PullsKey(r.Digest, id)}}}
	for _, s := range former {
		l.drop(&change, s)
	}
	if err = staged.Change(ctx, &change); err == nil {
		_, err = l.catalog.Commit(ctx, change)
	}
	staged.Settle(ctx, err)
	return err
}

// drop has a change take a segment away, as it was read. Its bytes are garbage from then on.
func (l *Log) drop(change *tiers.Change, s *segment) {
	change.If = append(change.If, tiers.Unchanged(s.record))
	change.Delete = append(change.Delete, s.record.Key)
	if t := l.tierOf(s.Store); t != nil {
		change.Delete = append(change.Delete, t.PullsKey(s.Digest, s.id()))
	}
}
