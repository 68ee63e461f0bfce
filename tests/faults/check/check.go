package check

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Config says where the registry keeps its things.
type Config struct {
	Endpoints      []string // of etcd
	S3             string
	Access, Secret string
	Buckets        map[string]string // by tier
	Pushed         string            // the tier that clients push to
	Ledger         *ecdsa.PublicKey  // of the ledger; nil: it is not looked at
	SkipBytes      bool              // do not read what was not read before
	Again          bool              // read everything, though it was read before
}

// Report is what was found.
type Report struct {
	Violations []string
	Records    int
	Objects    int
	Untracked  []string // objects that nothing names
	Open       int      // what is left of work that has ended: pins, stages, open promotions
	Read       int      // objects whose bytes were read
	Dangling   int      // references of manifests that do not exist
}

// Checker checks one registry, again and again. It remembers what objects it has read: keys
// are written once.
type Checker struct {
	config    Config
	etcd      *clientv3.Client
	s3        *minio.Client
	verified  map[string]bool   // bucket/key that was read and is what the catalog says
	bodies    map[string][]byte // manifests by digest
	events    events
	stop      context.CancelFunc
	following sync.WaitGroup
}

// New connects.
func New(config Config) (*Checker, error) {
	client, err := clientv3.New(clientv3.Config{Endpoints: config.Endpoints, DialTimeout: 5 * time.Second, MaxCallRecvMsgSize: 256 << 20})
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(config.S3)
	if err != nil {
		return nil, err
	}
	s3, err := minio.New(u.Host, &minio.Options{Creds: credentials.NewStaticV4(config.Access, config.Secret, ""), Region: "us-east-1"})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &Checker{config: config, etcd: client, s3: s3, verified: map[string]bool{}, bodies: map[string][]byte{}, stop: stop}
	if config.Ledger != nil {
		c.following.Go(func() { c.events.watch(ctx, client) })
	}
	return c, nil
}

// Close ends the connections.
func (c *Checker) Close() error {
	c.stop()
	c.following.Wait()
	return c.etcd.Close()
}

// Quiet waits until no promotion is open and nothing of one is pinned, staged or marked, for
// as long as within. Check says what is left then.
func (c *Checker) Quiet(ctx context.Context, within time.Duration) error {
	for began := time.Now(); time.Since(began) < within; {
		left := int64(0)
		for _, prefix := range []string{"promotion-open/", "pinned/", "staged/", "committed/"} {
			resp, err := c.etcd.Get(ctx, root+prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
			if err != nil {
				return err
			}
			left += resp.Count
		}
		if left == 0 {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// state is one look at a registry.
type state struct {
	*Checker
	ctx     context.Context
	catalog *catalog
	stores  map[string]string           // by tier
	buckets map[string]string           // by store
	objects map[string]map[string]int64 // by store, key: size
	parts   map[string][]string         // by store: keys of open multipart uploads, with ids
	report  *Report
}

func (s *state) violation(format string, args ...any) {
	s.report.Violations = append(s.report.Violations, fmt.Sprintf(format, args...))
}

// Check looks once. Nothing must be under way. collected says that a collection has ended at
// rest, after which nothing may be there that nothing names.
func (c *Checker) Check(ctx context.Context, collected bool) (Report, error) {
	s := &state{Checker: c, ctx: ctx, stores: map[string]string{}, buckets: map[string]string{},
		objects: map[string]map[string]int64{}, parts: map[string][]string{}, report: &Report{}}
	if c.config.Ledger != nil {
		if err := c.sealed(ctx); err != nil {
			return Report{}, err
		}
	}
	if err := s.look(); err != nil {
		return Report{}, err
	}
	s.blobs()
	s.references()
	for tier := range s.stores {
		s.tags(tier)
		s.manifests(tier)
		if tier != c.config.Pushed {
			s.verdicts(tier)
		}
	}
	s.rest()
	if c.config.Ledger != nil {
		s.ledger()
	}
	if err := s.untracked(collected); err != nil {
		return Report{}, err
	}
	slices.Sort(s.report.Violations)
	return *s.report, nil
}

// look reads the catalog and lists the buckets.
func (s *state) look() (err error) {
	if s.catalog, err = read(s.ctx, s.etcd); err != nil {
		return err
	}
	for tier, bucket := range s.config.Buckets {
		id, err := s.object(bucket, "sluice-identity")
		if err != nil {
			return fmt.Errorf("identity of %s: %w", bucket, err)
		}
		store := string(id)
		s.stores[tier], s.buckets[store] = store, bucket
		if s.objects[store] != nil {
			continue
		}
		s.objects[store] = map[string]int64{}
		for o := range s.s3.ListObjects(s.ctx, bucket, minio.ListObjectsOptions{Recursive: true}) {
			if o.Err != nil {
				return fmt.Errorf("list %s: %w", bucket, o.Err)
			}
			s.objects[store][o.Key] = o.Size
			s.report.Objects++
		}
		for u := range s.s3.ListIncompleteUploads(s.ctx, bucket, "", true) {
			if u.Err != nil {
				return fmt.Errorf("list uploads of %s: %w", bucket, u.Err)
			}
			s.parts[store] = append(s.parts[store], u.Key+" "+u.UploadID)
		}
	}
	return nil
}

func (s *state) object(bucket, key string) ([]byte, error) {
	o, err := s.s3.GetObject(s.ctx, bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return nil, err
	}
	defer o.Close()
	return io.ReadAll(o)
}

type blobRecord struct {
	Key  string `json:"key"`
	Size int64  `json:"size"`
}

// blobs checks that what a record says is there, has the right bytes, and is not condemned
// (I1, I3).
func (s *state) blobs() {
	for store, all := range s.catalog.blobs {
		for d, value := range all {
			s.report.Records++
			b, err := decode[blobRecord](value)
			if err != nil {
				s.violation("blob record %s of %s: %v", d, store, err)
				continue
			}
			size, ok := s.objects[store][b.Key]
			_, condemned := s.catalog.condemned[store][b.Key]
			switch {
			case !ok:
				s.violation("I3: blob %s of store %s lies under %s, where no object is", d, store, b.Key)
			case size != b.Size:
				s.violation("I1: blob %s has %d bytes, its object %s has %d", d, b.Size, b.Key, size)
			case condemned:
				s.violation("I3: the object %s of blob %s is condemned", b.Key, d)
			default:
				s.bytes(store, d, b)
			}
		}
	}
}

// bytes reads an object once and holds it against its digest.
func (s *state) bytes(store, d string, b blobRecord) {
	name := s.buckets[store] + "/" + b.Key
	hexed, ok := strings.CutPrefix(d, "sha256:")
	if s.config.SkipBytes || s.verified[name] && !s.config.Again || !ok {
		return
	}
	data, err := s.object(s.buckets[store], b.Key)
	if err != nil {
		s.violation("I1: read %s: %v", name, err)
		return
	}
	s.report.Read++
	sum := sha256.Sum256(data)
	if hex.EncodeToString(sum[:]) != hexed {
		s.violation("I1: object %s is %x and not %s", name, sum, d)
		return
	}
	s.verified[name] = true
	if len(data) < 1<<20 && bytes.HasPrefix(data, []byte("{")) {
		s.bodies[d] = data
	}
}
