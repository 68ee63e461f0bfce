package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/tiers/ledger"
)

func ledgerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ledger",
		Short: "Show and verify the log of all that happened",
		Args:  cobra.ArbitraryArgs,
		RunE:  needVerb,
	}
	cmd.AddCommand(ledgerShowCommand(), ledgerVerifyCommand())
	return cmd
}

// logSource is the flags that say where a log is read: at a registry, or in a copy of its
// bucket.
type logSource struct {
	host string
	dir  string
	keys []string
	conn connection
}

func (s *logSource) flag(cmd *cobra.Command) {
	registryFlag(cmd, &s.host)
	cmd.Flags().StringVar(&s.dir, "dir", "", "read a plain copy of the bucket that holds the ledger, in place of a registry")
	cmd.Flags().StringArrayVar(&s.keys, "key", nil, "file with the public key of the ledger; again for former ones (default: what the registry says)")
	s.conn.flag(cmd)
}

// openedLog is a log that can be read.
type openedLog struct {
	source ledger.Source
	name   string // where it is
	keys   []crypto.PublicKey
	pinned bool    // the keys were given, not taken from the registry
	client *client // nil for a copy
	copy   fs.FS   // of the bucket; nil where a registry is asked
}

// open finds the log and the keys that sign it.
func (s *logSource) open(cmd *cobra.Command) (*openedLog, error) {
	if s.dir != "" && cmd.Flags().Changed("registry") {
		return nil, wrongUse(cmd, "--dir and --registry exclude each other: name one of them")
	}
	l := &openedLog{pinned: len(s.keys) > 0}
	for _, file := range s.keys {
		key, err := loadPublicKey(file)
		if err != nil {
			return nil, err
		}
		l.keys = append(l.keys, key.Public)
	}
	if s.dir != "" {
		if !l.pinned {
			return nil, wrongUse(cmd, "--key is missing: a copy of the bucket cannot say by which key it is to be believed")
		}
		var err error
		l.source, err = ledger.Dir(os.DirFS(s.dir))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.dir, err)
		}
		l.name, l.copy = s.dir, os.DirFS(s.dir)
		return l, nil
	}
	c, err := newClient(cmd, s.conn, s.host)
	if err != nil {
		return nil, err
	}
	l.source, l.name, l.client = servedLog{c}, s.host, c
	if l.pinned {
		return l, nil
	}
	l.keys, err = c.ledgerKeys(cmd.Context())
	return l, err
}

// ledgerKeys asks a registry for the key of its ledger.
func (c *client) ledgerKeys(ctx context.Context) ([]crypto.PublicKey, error) {
	all, err := list[promote.PublicKey](ctx, c, "/api/v1/keys", "keys", nil)
	if err != nil {
		return nil, err
	}
	var keys []crypto.PublicKey
	for _, k := range all {
		if k.Use != promote.LedgerSigner {
			continue
		}
		key, err := attest.ParsePublicKey([]byte(k.PublicKey))
		if err != nil {
			return nil, fmt.Errorf("%s: key of the ledger: %w", c.host, err)
		}
		keys = append(keys, key.Public)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s has no ledger", c.host)
	}
	return keys, nil
}

// servedLog reads a log from its registry.
type servedLog struct{ c *client }

// Read asks for a resource of the log.
func (s servedLog) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.c.base()+"/ledger/"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.c.auth.Do(req)
	if err != nil {
		return nil, s.c.unreachable(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, max(limit, maxProblem)+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: read %s: %w", s.c.host, path, err)
	case resp.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("%w: %s", oci.ErrObjectUnknown, path)
	case resp.StatusCode != http.StatusOK:
		return nil, s.c.failed(resp, data)
	case int64(len(data)) > limit:
		return nil, fmt.Errorf("%w: %s has more than %d bytes", oci.ErrCorrupt, path, limit)
	}
	return data, nil
}

// maxProblem is how many bytes are read of an answer that may be an error.
const maxProblem = 64 << 10

// mayAudit says whether the entries may be read, and not only their hashes.
func (l *openedLog) mayAudit(ctx context.Context) (bool, error) {
	if l.client == nil {
		return true, nil
	}
	var page struct{}
	err := l.client.get(ctx, "/api/v1/ledger/entries?n=1", nil, &page)
	var refused *apiError
	if errors.Is(err, errAnonymous) || errors.As(err, &refused) && (refused.status == http.StatusForbidden || refused.status == http.StatusUnauthorized) {
		return false, nil
	}
	return err == nil, err
}
