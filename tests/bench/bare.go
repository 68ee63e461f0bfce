package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	clientv3 "go.etcd.io/etcd/client/v3"

	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers/etcd"
)

// answer is what a bare handler answers, and what it reads each time before it does.
type answer struct {
	key       string // of the catalog; with a limit, what the keys begin with
	limit     int    // records of one read; 0: the one of the key
	body      []byte
	mediaType string
}

// startBare starts the bound of everything that asks etcd once: a process of its own,
// which is this program again, with nothing but net/http and one linearizable read before
// each answer.
func (s *servers) startBare(a answer) (server, error) {
	address := stores.FreePorts(s.owner, 1)[0]
	file := filepath.Join(s.owner.TempDir(), "body")
	if err := os.WriteFile(file, a.body, 0o600); err != nil {
		return server{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return server{}, err
	}
	url := "http://" + address
	p, err := stores.Start(s.owner, self, nil, func() bool { return stores.Answers(url + "/") },
		bareVerb, "-listen", address, "-etcd", strings.Join(s.etcd, ","), "-key", etcd.DefaultPrefix+a.key, "-limit", strconv.Itoa(a.limit), "-body", file, "-type", a.mediaType)
	if err != nil {
		return server{}, err
	}
	return server{registry{url, "bare", newClient()}, usage(p.PID())}, nil
}

// bareVerb as the first argument makes this program the bare handler.
const bareVerb = "bare"

// serveBare is the bare handler's main. It ends when it is killed.
func serveBare(args []string) error {
	flags := flag.NewFlagSet(bareVerb, flag.ContinueOnError)
	listen := flags.String("listen", "", "")
	endpoints := flags.String("etcd", "", "")
	key := flags.String("key", "", "")
	limit := flags.Int("limit", 0, "")
	file := flags.String("body", "", "")
	mediaType := flags.String("type", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	body, err := os.ReadFile(*file)
	if err != nil {
		return err
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(*endpoints, ",")})
	if err != nil {
		return err
	}
	defer client.Close()
	var opts []clientv3.OpOption
	if *limit > 0 {
		opts = append(opts, clientv3.WithRange(clientv3.GetPrefixRangeEnd(*key)), clientv3.WithLimit(int64(*limit)))
	}
	read := func(ctx context.Context) error {
		got, err := client.Get(ctx, *key, opts...)
		if err == nil && len(got.Kvs) == 0 {
			err = errors.New("there is no such record")
		}
		return err
	}
	d := digest.FromBytes(body).String()
	handler := func(w http.ResponseWriter, r *http.Request) {
		if err := read(r.Context()); err != nil {
			http.Error(w, fmt.Sprintf("read %s: %v", *key, err), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", *mediaType)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Header().Set("Docker-Content-Digest", d)
		if r.Method != http.MethodHead {
			_, _ = w.Write(body) // the client went away
		}
	}
	server := &http.Server{Addr: *listen, Handler: http.HandlerFunc(handler), ReadHeaderTimeout: 10 * time.Second}
	return server.ListenAndServe()
}
