package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/server"
	"sluice.dev/sluice/server/events"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
	"sluice.dev/sluice/tiers/pulls"
	"sluice.dev/sluice/tiers/runs"
	"sluice.dev/sluice/web"
)

// drainTimeout is how long requests that are being answered may take when the server
// stops. What takes longer is cut off; uploads and promotions can be taken up again.
const drainTimeout = 10 * time.Second

// releaseTimeout is how long a server that stops tries to tidy up in its stores.
const releaseTimeout = 2 * time.Second

// seeder is who put a policy in force that came from the configuration.
const seeder = "configuration"

// instance is a running server.
type instance struct {
	cfg      *Config
	log      *slog.Logger
	url      string // where it listens
	listener net.Listener
	admin    *admin // nil: not configured
	stores   *stores
	registry *tiers.Registry
	auth     *server.Auth // nil: everybody may do everything
	engine   *promote.Engine
	ledger   *ledger.Ledger
	webhooks *events.Sender
	pulls    *pulls.Log
	jobs     func() map[runs.Kind]runs.Job
	runs     *runs.Runner
	http     *http.Server
	failed   chan error // what ended by itself
	cancel   context.CancelFunc
	work     sync.WaitGroup
}

// newInstance is a server that was not started yet.
func newInstance(cfg *Config, log *slog.Logger) *instance {
	i := &instance{cfg: cfg, log: log, failed: make(chan error, 7)}
	i.jobs = i.upkeep
	return i
}

// start starts a server and returns when it answers. On an error nothing stays behind.
func start(ctx context.Context, i *instance) (*instance, error) {
	if err := i.open(ctx); err != nil {
		return nil, errors.Join(err, i.close())
	}
	return i, nil
}

func (i *instance) open(ctx context.Context) (err error) {
	// The address first: that it is taken is known at once, and clients wait meanwhile.
	if i.listener, err = net.Listen("tcp", i.cfg.Listen); err != nil {
		return listenError(i.cfg.Listen, "--listen", err)
	}
	if i.admin, err = openAdmin(i.cfg.Admin); err != nil {
		return err
	}
	i.url = "http://" + i.listener.Addr().String()
	if i.cfg.URL == "" {
		i.cfg.URL = i.url
	}
	if i.stores, err = openStores(ctx, i.cfg, i.log); err != nil {
		return err
	}
	conf, err := withFailpoints(tiers.Config{Catalog: i.stores.catalog, Tiers: i.stores.tiers(i.cfg), Log: i.log, Collection: i.cfg.GC.collection()})
	if err != nil {
		return err
	}
	if i.registry, err = tiers.New(ctx, conf); err != nil {
		return err
	}
	keys, err := signers(i.cfg, i.log)
	if err != nil {
		return err
	}
	if i.ledger, err = i.openLedger(ctx, keys); err != nil {
		return err
	}
	if i.webhooks, err = i.openWebhooks(); err != nil {
		return err
	}
	if i.pulls, err = i.openPulls(); err != nil {
		return err
	}
	gate := promote.Config{Registry: i.registry, Signers: keys, URL: i.cfg.URL, Ledger: i.ledger.Origin(), Log: i.log, Alone: i.cfg.embedsEtcd()}
	if !i.cfg.open() {
		if i.auth, err = server.NewAuth(i.authConfig()); err != nil {
			return fmt.Errorf("auth: %w", err)
		}
		gate.MayPromote = i.auth.MayPromote
	}
	if i.engine, err = promote.New(gate); err != nil {
		return err
	}
	if err := i.seed(ctx); err != nil {
		return err
	}
	i.runs, err = runs.New(runs.Config{Registry: i.registry, Jobs: i.jobs(), Log: i.log, Alone: i.cfg.embedsEtcd()})
	if err != nil {
		return err
	}
	srv, err := i.server(i.registry)
	if err != nil {
		return err
	}
	i.run(srv)
	return i.answers(ctx)
}

// listenError says what to do about an address that setting names.
func listenError(address, setting string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("listen on %s: another program listens there: stop it, or choose another address with %s", address, setting)
	}
	return fmt.Errorf("listen: %w", err)
}

// seed puts the configured policies in force for tiers that have none yet. A tier that has
// one keeps it: policies change through the API, where the change is on record.
func (i *instance) seed(ctx context.Context) error {
	inForce, err := i.engine.Policies(ctx)
	if err != nil {
		return err
	}
	governed := map[string]promote.PolicyInfo{}
	for _, info := range inForce {
		governed[info.To] = info
	}
	for _, t := range i.cfg.Tiers {
		if t.Policy == "" {
			continue
		}
		p, err := loadPolicy(t.Policy)
		if info, ok := governed[t.Name]; ok {
			if err != nil || p.Digest() != info.Digest {
				i.log.Info("the policy in force is another than the configured file, which only seeds an empty catalog",
					"policy", info.Name, "tier", t.Name, "digest", info.Digest, "file", t.Policy)
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("tier %s: policy %s: %w", t.Name, t.Policy, err)
		}
		if p.To() != t.Name || p.From() != t.From {
			return fmt.Errorf("tier %s: policy %s: it is about what rises from %s to %s, the tier rises from %s", t.Name, t.Policy, p.From(), p.To(), t.From)
		}
		_, err = i.engine.SetPolicy(ctx, seeder, p.Name(), p.Canonical(), "")
		if err != nil && !errors.Is(err, oci.ErrConflict) { // another replica was faster
			return fmt.Errorf("tier %s: policy %s: %w", t.Name, t.Policy, err)
		}
	}
	return nil
}

// server makes the HTTP side.
func (i *instance) server(registry *tiers.Registry) (*server.Server, error) {
	conf := server.Config{Registry: registry, Engine: i.engine, Ledger: i.ledger, Source: i.cfg.URL, Webhooks: i.webhooks, Pulls: i.pulls, Runs: i.runs, Auth: i.auth, Hosts: map[string]string{}, Log: i.log, Ready: i.stores.Ready}
	for _, t := range i.cfg.Tiers {
		if t.Host != "" {
			conf.Hosts[t.Host] = t.Name
		}
	}
	var srv *server.Server // the pages ask it what a caller may see
	if i.cfg.Web {
		allows := func(r *http.Request, action server.Action, tier, repository string) bool {
			return srv.Allow(r.Context(), action, tier, repository) == nil
		}
		pages, err := web.New(web.Config{
			Registry: web.Read(registry), Gate: recordedGate{i.engine, i.ledger}, Log: i.log,
			Host: strings.TrimPrefix(strings.TrimPrefix(i.cfg.URL, "https://"), "http://"),
			Allow: func(r *http.Request, tier, repository string) bool {
				return allows(r, server.ActionPull, tier, repository)
			},
			Actor: func(r *http.Request) string { return server.Principal(r.Context()) },
		})
		if err != nil {
			return nil, err
		}
		conf.Web = pages
	}
	srv, err := server.New(conf)
	return srv, err
}

func (i *instance) authConfig() server.AuthConfig {
	conf := server.AuthConfig{Htpasswd: i.cfg.Auth.Htpasswd, Failed: func(err error) {
		i.log.Error("the changed file of users was not taken over", "error", err)
	}}
	for _, g := range i.cfg.Auth.Grants {
		grant := server.Grant{Users: g.Users, Tiers: g.Tiers, Repositories: g.Repositories}
		for _, action := range g.Actions {
			grant.Actions = append(grant.Actions, server.Action(action))
		}
		conf.Grants = append(conf.Grants, grant)
	}
	return conf
}

// run lets the server accept, the engine take up what was cut off, the ledger be sealed and
// delivered, pulls be recorded, and the runs begin that are due. All of it outlives the
// context of the start and ends with close.
func (i *instance) run(srv *server.Server) {
	i.http = srv.HTTPServer(i.listener.Addr().String())
	ctx, cancel := context.WithCancel(context.Background())
	i.cancel = cancel
	i.work.Go(func() {
		if err := i.http.Serve(srv.Plaintext(i.listener)); !errors.Is(err, http.ErrServerClosed) {
			i.failed <- fmt.Errorf("serve: %w", err)
		}
	})
	if i.admin != nil {
		i.work.Go(func() {
			if err := i.admin.serve(srv.Metrics()); err != nil {
				i.failed <- err
			}
		})
	}
	i.work.Go(func() { giveBack(ctx, i.rest) })
	i.work.Go(func() {
		if err := i.ledger.Run(ctx); err != nil {
			i.failed <- fmt.Errorf("ledger: %w", err)
		}
	})
	i.work.Go(func() {
		if err := i.webhooks.Run(ctx); err != nil && ctx.Err() == nil {
			i.failed <- fmt.Errorf("webhooks: %w", err)
		}
	})
	i.work.Go(func() {
		if err := i.pulls.Run(ctx); err != nil {
			i.failed <- fmt.Errorf("pulls: %w", err)
		}
	})
	i.work.Go(func() {
		if err := i.engine.Run(ctx); err != nil && ctx.Err() == nil {
			i.failed <- fmt.Errorf("promotions: %w", err)
		}
	})
	i.work.Go(func() {
		if err := i.runs.Run(ctx); err != nil && ctx.Err() == nil {
			i.failed <- fmt.Errorf("runs: %w", err)
		}
	})
}

// rest lets go of what only a busy server needs: listings in memory, and connections to the
// stores that nobody uses, each with its buffers.
func (i *instance) rest() {
	i.registry.Forget()
	i.stores.rest()
}

// answers asks the server itself whether it is ready: it accepts, and its stores answer.
func (i *instance) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, i.url+"/readyz", nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true} // and no proxy: it is this process
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return fmt.Errorf("the server does not answer: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the server is not ready: %w", i.stores.Ready(ctx))
	}
	return nil
}

// wait returns when ctx ends, or with what went wrong meanwhile.
func (i *instance) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-i.failed:
		return err
	case err := <-i.stores.failed():
		return err
	}
}

// close stops accepting, lets requests end, stops the engine and the runs, and then closes the
// stores.
func (i *instance) close() error {
	var problems []error
	if i.http != nil {
		ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		if err := i.http.Shutdown(ctx); err != nil {
			i.log.Warn("requests were cut off", "after", drainTimeout)
			problems = append(problems, i.http.Close())
		}
		i.cancel()
	} else if i.listener != nil {
		problems = append(problems, i.listener.Close())
	}
	if i.admin != nil {
		problems = append(problems, i.admin.close())
	}
	if i.engine != nil {
		i.engine.Close()
	}
	if i.runs != nil {
		i.runs.Close()
	}
	i.work.Wait()
	if i.registry != nil {
		ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
		defer cancel()
		if err := i.registry.Release(ctx); err != nil {
			i.log.Warn("announced keys are left for garbage collection", "error", err)
		}
	}
	if i.stores != nil {
		problems = append(problems, i.stores.Close())
	}
	return errors.Join(problems...)
}
