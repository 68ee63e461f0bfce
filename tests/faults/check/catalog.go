package check

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// root stands before every key of the registry.
const root = "sluice/v1/"

const page = 2000 // keys that are read at once

// records are those of one family, by the rest of their keys.
type records map[string][]byte

// catalog is what the registry knows, by tier or store where there is one.
type catalog struct {
	blobs, refs, intents, condemned        map[string]records // by store
	manifests, tags, tagged, links, refers map[string]records // by tier
	pushing                                map[string]records
	uploads, promotions, open, ledger      records
	pinned, staged, committed              records
	revision                               int64
}

func newCatalog() *catalog {
	by := func() map[string]records { return map[string]records{} }
	return &catalog{blobs: by(), refs: by(), intents: by(), condemned: by(), manifests: by(), tags: by(), tagged: by(), links: by(),
		refers: by(), pushing: by(), uploads: records{}, promotions: records{}, open: records{}, ledger: records{}, pinned: records{}, staged: records{}, committed: records{}}
}

// read reads all but the events, which the sealer takes away, at one revision.
func read(ctx context.Context, client *clientv3.Client) (*catalog, error) {
	c := newCatalog()
	for _, prefix := range []string{"store/", "tier/", "upload/", "promotion/", "promotion-open/", "pinned/", "staged/", "committed/", "ledger/"} {
		if err := c.family(ctx, client, root+prefix); err != nil {
			return nil, fmt.Errorf("read %s: %w", prefix, err)
		}
	}
	return c, nil
}

func (c *catalog) family(ctx context.Context, client *clientv3.Client, prefix string) error {
	end := clientv3.GetPrefixRangeEnd(prefix)
	for from := prefix; ; {
		resp, err := client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(page), clientv3.WithRev(c.revision))
		if err != nil {
			return err
		}
		c.revision = resp.Header.Revision
		for _, kv := range resp.Kvs {
			c.add(strings.TrimPrefix(string(kv.Key), root), kv.Value)
		}
		if !resp.More {
			return nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

func (c *catalog) add(key string, value []byte) {
	parts := strings.SplitN(key, "/", 4)
	switch parts[0] {
	case "store", "tier":
		if len(parts) < 4 {
			return
		}
		if family := c.of(parts[0], parts[2]); family != nil {
			if family[parts[1]] == nil {
				family[parts[1]] = records{}
			}
			family[parts[1]][parts[3]] = value
		}
		return
	}
	family := map[string]records{"upload": c.uploads, "promotion": c.promotions, "promotion-open": c.open,
		"pinned": c.pinned, "staged": c.staged, "committed": c.committed, "ledger": c.ledger}[parts[0]]
	if family != nil {
		family[strings.TrimPrefix(key, parts[0]+"/")] = value
	}
}

func (c *catalog) of(kind, family string) map[string]records {
	return map[string]map[string]records{
		"store/blob": c.blobs, "store/ref": c.refs, "store/intent": c.intents, "store/condemned": c.condemned,
		"tier/manifest": c.manifests, "tier/tag": c.tags, "tier/tagged": c.tagged, "tier/link": c.links,
		"tier/referrer": c.refers, "tier/pushing": c.pushing,
	}[kind+"/"+family]
}

// decode reads a record into what the checks need of it.
func decode[T any](value []byte) (T, error) {
	var v T
	err := json.Unmarshal(value, &v)
	return v, err
}
