package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
)

// rebuilt is what the verb prints.
type rebuilt struct {
	Ledger   ledger.Report `json:"ledger"`
	Records  int           `json:"records"`
	Problems []string      `json:"problems"` // what could not be read
	Seconds  float64       `json:"seconds"`
}

func rebuildCommand() *cobra.Command {
	var out output
	var src configSource
	var kept string
	var keys []string
	cmd := &cobra.Command{
		Use:   "rebuild",
		Short: "Make a lost etcd anew, from the buckets and the ledger",
		Long: `Verify the whole ledger in the bucket of the last tier, apply its events in their order, read
the manifests from the buckets, and write all of it into the empty etcd of the configuration.
No server may run meanwhile, and none starts before it is done. One that was cut off is begun
again: it starts over.

What is not in the ledger is lost: what was acknowledged in the last two seconds before etcd
was lost, uploads and promotions that were under way, and the history of checks and
collections. The bytes are still in the buckets then. No garbage is collected until sluice
fsck has found nothing wrong.

With --checkpoint the ledger must also lead to a checkpoint that was kept elsewhere. Former
keys of the ledger, where it was signed with others, are given with --key.`,
		Example: "  sluice rebuild --config /etc/sluice/sluice.yaml --checkpoint kept.txt",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(cmd); err != nil {
				return err
			}
			if src.file == "" {
				return wrongUse(cmd, "--config is missing: name the configuration file of the servers")
			}
			src.environ = environment(os.Environ())
			cfg, err := loadConfig(src)
			if err != nil {
				return err
			}
			var options ledger.VerifyOptions
			if kept != "" {
				if options.Kept, err = readLimited(kept, ledger.MaxCheckpoint); err != nil {
					return fmt.Errorf("checkpoint: %w", err)
				}
			}
			if options.Keys, err = ledgerKeys(cfg, keys); err != nil {
				return err
			}
			done, err := rebuild(cmd.Context(), cfg, options, newProgress(cmd.ErrOrStderr()))
			if err != nil {
				return fmt.Errorf("rebuild: %w", err)
			}
			if err := out.print(cmd, done, func(p *printer) { p.rebuilt(done) }); err != nil {
				return err
			}
			if len(done.Problems) > 0 || !done.Ledger.Sound {
				return errPrinted
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&src.file, "config", "", "configuration file of the servers")
	cmd.Flags().StringVar(&src.data, "data", "", "data directory (default: that of the configuration)")
	cmd.Flags().StringVar(&kept, "checkpoint", "", "file with a checkpoint that was kept elsewhere")
	cmd.Flags().StringArrayVar(&keys, "key", nil, "file with a former public key of the ledger, besides the configured one")
	out.flag(cmd)
	return cmd
}

// ledgerKeys are the configured key of the ledger and those that were given. A key is not
// made here: what it did not sign could not be verified.
func ledgerKeys(cfg *Config, files []string) ([]crypto.PublicKey, error) {
	signers, err := signers(cfg, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		return nil, err
	}
	keys := []crypto.PublicKey{signers[ledgerKey].Public()}
	for _, file := range files {
		data, err := readLimited(file, maxKeySize)
		if err != nil {
			return nil, err
		}
		key, err := attest.ParsePublicKey(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// rebuild does it. A ledger that is not sound is in the result, and nothing was written.
func rebuild(ctx context.Context, cfg *Config, options ledger.VerifyOptions, said *progress) (done rebuilt, err error) {
	began := time.Now()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	stores, err := openStores(ctx, cfg, log)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, stores.Close()) }()
	defer said.clear()
	conf, err := withFailpoints(tiers.Config{Catalog: stores.catalog, Tiers: stores.tiers(cfg), Log: log, Collection: cfg.GC.collection()})
	if err != nil {
		return done, err
	}
	b, err := tiers.OpenRebuild(ctx, conf)
	if err != nil {
		return done, err
	}
	replay := promote.NewReplay(b.Registry)
	options.Each = func(e ledger.Entry) error { return replay.Entry(ctx, e) }
	options.Progress = func(n, of int64) { said.say(fmt.Sprintf("reading the ledger: entry %d of %d", n, of)) }
	all := b.Tiers()
	tier := all[len(all)-1]
	if done.Ledger, err = ledger.Verify(ctx, ledger.Bucket(tier.Bucket), options); err != nil || !done.Ledger.Sound {
		return done, err
	}
	done.Problems, err = b.Complete(ctx, replay.Model, func(n, of int) { said.say(fmt.Sprintf("reading manifests: %d of %d", n, of)) })
	if err != nil {
		return done, err
	}
	head, err := ledger.Head(done.Ledger, tier.Store())
	if err != nil {
		return done, err
	}
	done.Records = len(replay.Model.Keys())
	err = b.Write(ctx, replay.Model, []tiers.Put{head}, done.Ledger.Size, done.Ledger.Root.String(), func(n, of int) { said.say(fmt.Sprintf("writing records: %d of %d", n, of)) })
	done.Seconds = time.Since(began).Seconds()
	return done, err
}

// rebuilt prints what a rebuild has made.
func (p *printer) rebuilt(done rebuilt) {
	if !done.Ledger.Sound {
		p.line("%s the ledger is not sound, and nothing was written", p.style(red, "✗"))
		p.ledgerFindings(done.Ledger)
		return
	}
	p.line("%s %s of %s of the ledger %s, in %s", p.style(green, "✓"), count(done.Records, "record"),
		count(int(done.Ledger.Size), "entry"), printable(done.Ledger.Origin), time.Duration(done.Seconds*float64(time.Second)).Round(time.Millisecond))
	if done.Ledger.Last != nil {
		p.line("  What was acknowledged after %s and not sealed is lost.", done.Ledger.Last.Local().Format("2006-01-02 15:04:05"))
	}
	for _, problem := range done.Problems {
		p.line("%s %s", p.style(red, "✗"), printable(problem))
	}
	p.line("  Start the servers, and run sluice fsck: until it finds nothing wrong, no garbage is collected.")
}
