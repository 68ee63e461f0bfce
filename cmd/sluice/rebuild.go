package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
)

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
fsck has found nothing wrong but strays.

With --checkpoint the ledger must also lead to a checkpoint that was kept elsewhere. Former
keys of the ledger, where it was signed with others, are given with --key.`,
		Example: "  sluice rebuild --config /etc/sluice/sluice.yaml --checkpoint kept.txt",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(cmd); err != nil {
				return err
			}
			if src.file == "" && src.data == "" {
				return wrongUse(cmd, "--config is missing: name the configuration file of the servers, or with --data the directory that has it")
			}
			if src.file == "" {
				src.file, src.home = filepath.Join(src.data, configName), src.data
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
			if options.Keys, err = sealingKeys(cfg, keys); err != nil {
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
	cmd.Flags().StringVar(&src.file, "config", "", "configuration file of the servers (default: sluice.yaml in the data directory)")
	cmd.Flags().StringVar(&src.data, "data", "", "data directory (default: that of the configuration)")
	cmd.Flags().StringVar(&kept, "checkpoint", "", "file with a checkpoint that was kept elsewhere")
	cmd.Flags().StringArrayVar(&keys, "key", nil, "file with a former public key of the ledger, besides the configured one")
	out.flag(cmd)
	return cmd
}

// sealingKeys are the configured key of the ledger and those that were given. One that is
// missing is not made: by a new key nothing could be believed.
func sealingKeys(cfg *Config, files []string) ([]crypto.PublicKey, error) {
	named, ok := cfg.Signing.Keys[ledgerKey]
	if !ok {
		named.File = signingPath(cfg, ledgerKey)
	}
	signer, err := readSigner(named)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", ledgerKey, err)
	}
	keys := []crypto.PublicKey{signer.Public()}
	for _, file := range files {
		key, err := loadPublicKey(file)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key.Public)
	}
	return keys, nil
}

// rebuild rebuilds the catalog of a configuration.
func rebuild(ctx context.Context, cfg *Config, options ledger.VerifyOptions, said *progress) (done promote.Rebuilt, err error) {
	log := slog.New(slog.DiscardHandler)
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
	return promote.Rebuild(ctx, conf, options, said.say)
}

// rebuilt prints what a rebuild has made.
func (p *printer) rebuilt(done promote.Rebuilt) {
	if !done.Ledger.Sound {
		p.line("%s the ledger is not sound, and nothing was written", p.style(red, "✗"))
		p.ledgerFindings(done.Ledger)
		return
	}
	p.line("%s %s of %s of the ledger %s, in %s", p.style(green, "✓"), count(done.Records, "record"),
		plural(int(done.Ledger.Size), "entry", "entries"), printable(done.Ledger.Origin), time.Duration(done.Seconds*float64(time.Second)).Round(time.Millisecond))
	if done.Ledger.Last != nil {
		p.line("  What was acknowledged after %s and not sealed is lost.", done.Ledger.Last.Local().Format("2006-01-02 15:04:05"))
	}
	for _, problem := range done.Problems {
		p.line("%s %s", p.style(red, "✗"), printable(problem))
	}
	p.line("  Start the servers, and run sluice fsck: until it finds nothing wrong but strays, no garbage is collected.")
}
