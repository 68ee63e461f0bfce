package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

func serveCommand() *cobra.Command {
	var file, listen, data string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the registry",
		Long: `Run the registry until it is told to stop (SIGINT or SIGTERM; a second signal kills it).

Without a configuration an etcd and an S3 server run inside the process, and all of it
lives in one data directory. The first start writes a commented sluice.yaml, sample
policies and a sample CI key there; later starts read that sluice.yaml. Environment
variables SLUICE_… override the file, flags override both.`,
		Example: "  sluice serve\n  sluice serve --config /etc/sluice/sluice.yaml",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			src := configSource{file: file, environ: environment(os.Environ()), listen: listen, data: data}
			cfg, err := serveConfig(src, cmd.OutOrStdout())
			if err != nil {
				return err
			}
			log := bufferLog(cmd.ErrOrStderr())
			defer log.Stop()
			return serve(cmd.Context(), cfg, slog.New(&flushing{newLog(log, verbose).Handler(), log}), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration file (default: sluice.yaml in the data directory)")
	cmd.Flags().StringVar(&listen, "listen", "", "address to listen on (default "+defaultListen+")")
	cmd.Flags().StringVar(&data, "data", "", "data directory (default ./"+defaultData+")")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "log more")
	return cmd
}

// serveConfig finds the configuration: the file that was named, or that of the data
// directory, which the first start writes.
func serveConfig(src configSource, stdout io.Writer) (*Config, error) {
	if src.file != "" {
		return loadConfig(src)
	}
	dir := src.data
	if dir == "" {
		dir = src.environ[envPrefix+"DATA"]
	}
	if dir == "" {
		dir = defaultData
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	src.file, src.home = filepath.Join(dir, configName), dir
	if _, err := os.Stat(src.file); !errors.Is(err, fs.ErrNotExist) {
		return loadConfig(src)
	}
	written, err := writeSamples(dir)
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(stdout, "First start: wrote a configuration, sample policies, and a sample key for your CI:")
	for _, path := range written {
		fmt.Fprintln(stdout, "  "+path)
	}
	return loadConfig(src)
}

// serve runs a server until ctx ends.
func serve(ctx context.Context, cfg *Config, log *slog.Logger, stdout, stderr io.Writer) error {
	tuneMemory(cfg.embedsEtcd() || cfg.embedsS3())
	i, err := start(ctx, newInstance(cfg, log))
	if err != nil {
		return err
	}
	if cfg.open() {
		fmt.Fprintln(stderr, "Without an auth section in the configuration anyone who reaches this loopback address may do anything.")
	}
	if i.admin != nil {
		fmt.Fprintf(stdout, "profiles and metrics are on %s/debug/pprof/ and /metrics\n", i.admin.url())
	}
	fmt.Fprintf(stdout, "sluice is ready on %s\n", i.url)
	err = i.wait(ctx)
	log.Info("stopping", "drain", drainTimeout)
	return errors.Join(err, i.close())
}
